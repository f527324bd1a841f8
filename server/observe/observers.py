"""What the link and the relay report, turned into metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.observe.families import MAX_SERIES
from server.observe.metrics import SEGMENTS

if TYPE_CHECKING:
    from server.link.meter import LinkEvent
    from server.observe.metrics import Metrics
    from server.relay.hedge import HedgeVerdict
    from server.relay.services import AttemptResult
    from server.relay.settlement import SettlementRecord

_UNKNOWN = "unknown"
_SIZE_CLASSES = ((64 * 1024, "64KiB"), (1024 * 1024, "1MiB"))
# The segments that make up the time to first content; the others overlap with them.
_TTFT_SEGMENTS = frozenset(
    {
        "parse_us",
        "reserve_us",
        "media_fetch_us",
        "route_us",
        "queue_us",
        "encrypt_us",
        "dispatch_us",
        "provider_us",
    }
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

    def cancel_answered(self, seconds: float) -> None:
        """Record how long a provider took to end a cancelled request."""
        self._metrics.cancel_answer_seconds.observe(amount=seconds)


class _ModelSeries:
    """The series of one model, looked up once."""

    __slots__ = ("completion_tokens", "decode_tps", "e2e_seconds", "prompt_tokens", "ttft_seconds")

    def __init__(self, metrics: Metrics, model: str) -> None:
        self.e2e_seconds = metrics.e2e_seconds.series(model)
        self.ttft_seconds = metrics.ttft_seconds.series(model)
        self.decode_tps = metrics.decode_tps.series(model)
        self.prompt_tokens = metrics.tokens.series(model, "prompt")
        self.completion_tokens = metrics.tokens.series(model, "completion")


class RelayMetrics:
    """Counts attempts and requests; a RelayObserver."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._models: dict[str, _ModelSeries] = {}
        self._segments = {f"{name}_us": metrics.segment_seconds.series(name) for name in SEGMENTS}

    def attempt_ended(self, model: str, result: AttemptResult) -> None:
        """Count one attempt."""
        self._metrics.dispatch_attempts.inc(model, result)

    def hedge_decided(self, model: str, verdict: HedgeVerdict) -> None:
        """Count one decision about a backup."""
        self._metrics.hedges.inc(model, verdict.value)

    def hedge_ended(self, model: str, *, won: bool) -> None:
        """Count one backup."""
        self._metrics.hedge_outcomes.inc(model, "won" if won else "lost")

    def cache_answered(self, model: str, *, hit: bool) -> None:
        """Count one answer of a machine that was chosen for what it holds."""
        self._metrics.cache_answers.inc(model, "hit" if hit else "miss")

    def request_ended(self, record: SettlementRecord) -> None:
        """Count one request with its tokens, times and rate; models without a build were not served: `unknown`."""
        metrics = self._metrics
        model = record.build or _UNKNOWN
        stream = "true" if record.stream else "false"
        metrics.inference_requests.inc("chat_completions", model, stream, record.outcome.value)
        series = self._series_of(model)
        usage, segments = record.usage, record.segments
        if usage is not None:
            series.prompt_tokens.amount += usage.prompt_tokens
            series.completion_tokens.amount += usage.completion_tokens
        if segments is None:
            return
        whole = max(0.0, record.ended_at - record.started_at)
        first = 0.0
        for name, amount in segments.items():
            segment = self._segments.get(name)
            if segment is not None:
                seconds = amount / 1e6
                segment.observe(seconds)
                if name in _TTFT_SEGMENTS:
                    first += seconds
        series.e2e_seconds.observe(whole)
        series.ttft_seconds.observe(first)
        if usage is not None and usage.completion_tokens > 1 and whole > first:
            series.decode_tps.observe((usage.completion_tokens - 1) / (whole - first))

    def _series_of(self, model: str) -> _ModelSeries:
        found = self._models.get(model)
        if found is None:
            found = _ModelSeries(self._metrics, model)
            if len(self._models) < MAX_SERIES:
                self._models[model] = found
        return found

    def settlement_failed(self) -> None:
        """Count one settlement that failed."""
        self._metrics.settlement_failures.inc()
