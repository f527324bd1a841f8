"""What the link and the relay report, turned into metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.link.meter import LinkEvent
    from server.observe.metrics import Metrics
    from server.relay.services import AttemptResult
    from server.relay.settlement import SettlementRecord

_UNKNOWN = "unknown"
_SIZE_CLASSES = ((64 * 1024, "64KiB"), (1024 * 1024, "1MiB"))
# The segments that make up the time to first content.
_TTFT_SEGMENTS = (
    "parse_us",
    "reserve_us",
    "media_fetch_us",
    "route_us",
    "queue_us",
    "encrypt_us",
    "dispatch_us",
    "provider_us",
)


class LinkMetrics:
    """Counts what happens on provider connections; a LinkMeter."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def count(self, event: LinkEvent) -> None:
        """Count one event."""
        self._metrics.link_events.inc(event)

    def wire_time(self, size_bytes: int, seconds: float) -> None:
        """Record how long one frame was on its way to the kernel."""
        size = next((name for bound, name in _SIZE_CLASSES if size_bytes <= bound), "larger")
        self._metrics.ws_write_seconds.observe(size, amount=seconds)


class RelayMetrics:
    """Counts attempts and requests; a RelayObserver."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def attempt_ended(self, model: str, result: AttemptResult) -> None:
        """Count one attempt."""
        self._metrics.dispatch_attempts.inc(model, result)

    def request_ended(self, record: SettlementRecord) -> None:
        """Count one request with its tokens, times and rate; models without a build were not served: `unknown`."""
        metrics = self._metrics
        model = record.build or _UNKNOWN
        stream = "true" if record.stream else "false"
        metrics.inference_requests.inc("chat_completions", model, stream, record.outcome.value)
        if record.usage is not None:
            metrics.tokens.inc(model, "prompt", by=record.usage.prompt_tokens)
            metrics.tokens.inc(model, "completion", by=record.usage.completion_tokens)
        if record.segments is None:
            return
        whole = max(0.0, record.ended_at - record.started_at)
        first = sum(record.segments.get(name, 0) for name in _TTFT_SEGMENTS) / 1e6
        metrics.e2e_seconds.observe(model, amount=whole)
        metrics.ttft_seconds.observe(model, amount=first)
        for name, amount in record.segments.items():
            metrics.segment_seconds.observe(name.removesuffix("_us"), amount=amount / 1e6)
        if record.usage is not None and record.usage.completion_tokens > 1 and whole > first:
            metrics.decode_tps.observe(model, amount=(record.usage.completion_tokens - 1) / (whole - first))

    def settlement_failed(self) -> None:
        """Count one settlement that failed."""
        self._metrics.settlement_failures.inc()
