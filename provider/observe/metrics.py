"""All metric families of the provider, declared in one place; labels are closed sets and model ids of this machine."""

from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

PREFIX: Final = "darkbloom_provider"
_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_TOKEN_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1)

OUTCOMES: Final = frozenset(
    {
        "complete",
        "invalid_request",
        "invalid_media",
        "media_too_large",
        "unsupported_media",
        "template_render",
        "model_unavailable",
        "capacity",
        "cancelled",
        "encryption_failure",
        "generation_failure",
        "internal_failure",
    }
)


CACHE_OUTCOMES: Final = frozenset(
    {"hit", "miss_absent", "miss_corrupt", "skipped_capacity", "skipped_cost", "skipped_policy"}
)


class ProviderMetrics:
    """The families of one daemon. `before_scrape` fills the gauges."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.before_scrape: Callable[[], None] = lambda: None
        self._requests = Counter(
            f"{PREFIX}_requests", "Requests by how they ended.", ("source", "model", "outcome"), registry=registry
        )
        self._tokens = Counter(f"{PREFIX}_tokens", "Tokens by kind.", ("kind",), registry=registry)
        self._cache = Counter(
            f"{PREFIX}_prefix_cache", "Prompts by what the prefix cache did for them.", ("outcome",), registry=registry
        )
        self._first = Histogram(
            f"{PREFIX}_ttft_seconds", "From receipt to the first delta.", registry=registry, buckets=_SECONDS
        )
        self._each = Histogram(
            f"{PREFIX}_tpot_seconds", "Per token after the first.", registry=registry, buckets=_TOKEN_SECONDS
        )
        self._queue = Histogram(
            f"{PREFIX}_queue_seconds",
            "From the engine's receipt of an answered request to its row.",
            registry=registry,
            buckets=_SECONDS,
        )
        self._totals = {name: Counter(f"{PREFIX}_{name}", text, registry=registry) for name, text in _TOTALS}
        self._seen = dict.fromkeys(self._totals, 0)
        self._gauges: dict[str, Gauge] = {}
        for name, text, labels in _GAUGES:
            self._gauges[name] = Gauge(f"{PREFIX}_{name}", text, labels, registry=registry)

    def ended(
        self,
        *,
        outcome: str,
        source: str,
        model: str,
        prompt_tokens: int,
        completion_tokens: int,
        cache_outcome: str,
        first_seconds: float | None,
        per_token_seconds: float | None,
    ) -> None:
        """See `provider.observe.meter.RequestRecord`."""
        self._requests.labels(source, model, outcome if outcome in OUTCOMES else "internal_failure").inc()
        if cache_outcome in CACHE_OUTCOMES:
            self._cache.labels(cache_outcome).inc()
        self._tokens.labels("prompt").inc(prompt_tokens)
        self._tokens.labels("completion").inc(completion_tokens)
        if first_seconds is not None:
            self._first.observe(first_seconds)
        if per_token_seconds is not None:
            self._each.observe(per_token_seconds)

    def queued(self, seconds: float) -> None:
        """An answered request waited this long for its row."""
        self._queue.observe(seconds)

    def downloaded(self, amount: int) -> None:
        """Bytes of models came over the network."""
        self._totals["download_bytes"].inc(amount)

    def set_total(self, name: str, total: int) -> None:
        """Bring a counter, one of `_TOTALS`, to what was counted elsewhere since the start of the process."""
        self._totals[name].inc(max(0, total - self._seen[name]))
        self._seen[name] = max(total, self._seen[name])

    def set_gauge(self, name: str, value: float, *labels: str) -> None:
        """Set one gauge; names are those of `_GAUGES`."""
        gauge = self._gauges[name]
        (gauge.labels(*labels) if labels else gauge).set(value)

    def forget_models(self, name: str) -> None:
        """Drop the rows of a labelled gauge before they are set anew."""
        self._gauges[name].clear()

    def render(self) -> bytes:
        """Give the Prometheus text."""
        self.before_scrape()
        return generate_latest(self._registry)


_TOTALS: Final = (
    ("ws_reconnects", "Connections that ended."),
    ("engine_faults", "Exceptions of generators and deaths of the engine's thread."),
    ("download_bytes", "Bytes of models that the daemon fetched."),
)

_GAUGES: Final[Iterable[tuple[str, str, tuple[str, ...]]]] = (
    ("batch_rows", "Rows that run together.", ("model",)),
    ("waiting_rows", "Requests that wait for a row.", ("model",)),
    ("decode_tokens_per_second", "Measured decode speed of one request.", ("model",)),
    ("model_load_seconds", "How long the last load of a resident model took.", ("model",)),
    ("kv_bytes", "Memory of the caches, as the allocator sees it.", ()),
    ("weights_bytes", "Memory of the resident weights.", ()),
    ("memory_peak_bytes", "Most memory that the allocator held.", ()),
    ("inflight_requests", "Requests without a terminal.", ()),
    ("connected", "1 while the coordinator is connected.", ()),
    ("engine_good", "1 while the engine makes progress.", ()),
)
