"""All metric families of the coordinator, declared in one place."""

from __future__ import annotations

from typing import Final, get_args

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector

from server.link.meter import LinkEvent
from server.observe.families import Families, GaugeReader
from server.relay.hedge import HedgeVerdict
from server.relay.services import AttemptResult
from server.relay.settlement import Outcome

_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_BOOLS: Final = ("true", "false")
_REQUEST_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_SHORT_BUCKETS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
_RATE_BUCKETS: Final = (1, 2, 5, 10, 15, 20, 30, 40, 60, 80, 120, 200, 400, 1000)
SEGMENTS: Final = (
    "parse",
    "reserve",
    "media_fetch",
    "route",
    "queue",
    "encrypt",
    "dispatch",
    "provider",
    "pre_handler",
    "preflight",
    "route_reserve",
    "queue_pure",
    "writer",
    "socket",
    "provider_ack",
)
FRAME_SIZES: Final = ("64KiB", "1MiB", "larger")


class Metrics:
    """One per coordinator; the attributes are the families."""

    def __init__(self) -> None:
        self.families = Families()
        declare = self.families
        self.http_requests = declare.counter(
            "darkbloom_http_requests", "Answered HTTP requests.", method=_METHODS, route=None, status=None
        )
        self.http_request_seconds = declare.histogram(
            "darkbloom_http_request_seconds",
            "Time from a request's head to the end of its answer.",
            _REQUEST_BUCKETS,
            method=_METHODS,
            route=None,
        )
        self.inference_requests = declare.counter(
            "darkbloom_inference_requests",
            "Inference requests by how they ended.",
            endpoint=None,
            model=None,
            stream=_BOOLS,
            outcome=[outcome.value for outcome in Outcome],
        )
        self.ttft_seconds = declare.histogram(
            "darkbloom_ttft_seconds", "Time to the first content.", _REQUEST_BUCKETS, model=None
        )
        self.e2e_seconds = declare.histogram(
            "darkbloom_e2e_seconds", "Time to the end of an inference request.", _REQUEST_BUCKETS, model=None
        )
        self.decode_tps = declare.histogram(
            "darkbloom_decode_tps", "Tokens a second after the first content.", _RATE_BUCKETS, model=None
        )
        self.segment_seconds = declare.histogram(
            "darkbloom_segment_seconds", "Segments of the time to first content.", _REQUEST_BUCKETS, segment=SEGMENTS
        )
        self.tokens = declare.counter(
            "darkbloom_tokens", "Tokens of completed requests.", model=None, direction=("prompt", "completion")
        )
        self.dispatch_attempts = declare.counter(
            "darkbloom_dispatch_attempts",
            "Attempts at a provider by how they ended.",
            model=None,
            result=get_args(AttemptResult),
        )
        self.hedges = declare.counter(
            "darkbloom_hedges",
            "Requests that waited long for their first content, by whether they got a backup.",
            model=None,
            verdict=[verdict.value for verdict in HedgeVerdict],
        )
        self.hedge_outcomes = declare.counter(
            "darkbloom_hedge_outcomes",
            "Backups that were sent, by whether they answered first.",
            model=None,
            outcome=("won", "lost"),
        )
        self.cache_answers = declare.counter(
            "darkbloom_cache_answers",
            "Answers of machines that were chosen for the beginning of a prompt, by whether they still held it.",
            model=None,
            outcome=("hit", "miss"),
        )
        self.settlement_failures = declare.counter(
            "darkbloom_settlement_failures", "Settlements that failed or ran out of time."
        )
        self.link_events = declare.counter(
            "darkbloom_link_events", "What happened on provider connections.", event=get_args(LinkEvent)
        )
        self.ws_write_seconds = declare.histogram(
            "darkbloom_ws_write_seconds",
            "Time on the wire of frames that did not fit the kernel's buffer.",
            _REQUEST_BUCKETS,
            size=FRAME_SIZES,
        )
        self.cancel_answer_seconds = declare.histogram(
            "darkbloom_cancel_answer_seconds",
            "From a cancel to the provider's terminal of that request; those it never sends are missing here.",
            _REQUEST_BUCKETS,
        )
        self.loop_lag_seconds = declare.histogram(
            "darkbloom_loop_lag_seconds", "How late a 100 ms timer of the event loop fires.", _SHORT_BUCKETS
        )
        self.task_crashes = declare.counter("darkbloom_task_crashes", "Crashes of background tasks.", task=None)
        self.task_up = declare.gauge("darkbloom_task_up", "0 for a background task that stays down.", task=None)
        self.connection_crashes = declare.counter(
            "darkbloom_connection_crashes", "Exceptions that escaped a connection or the application."
        )
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=declare.registry)

    def reading(self, name: str, meaning: str, labels: tuple[str, ...], read: GaugeReader) -> None:
        """Declare a gauge that is read whenever metrics are asked for."""
        self.families.reading(name, meaning, labels, read)
