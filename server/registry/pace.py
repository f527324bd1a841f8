"""How fast places of each model become free, and what a refused client is told because of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from server.registry.rates import ReleaseRate, ewma
from server.registry.retry_after import retry_after_ms

if TYPE_CHECKING:
    from random import Random

ROUTE_LATENCY_ALPHA: Final = 0.2
MODELS_MAX: Final = 4_096


class ReleasePace:
    """Release rates by model, and the latency of routing; at most `MODELS_MAX` models, the oldest leaves first."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._rates: dict[str, ReleaseRate] = {}
        self._route_latency_ms: float | None = None

    def note_release(self, model: str, now: float) -> None:
        """Count one place that a request gave back."""
        rate = self._rates.get(model)
        if rate is None:
            if len(self._rates) >= MODELS_MAX:
                del self._rates[next(iter(self._rates))]
            rate = self._rates[model] = ReleaseRate()
        rate.note(now)

    def releases_per_second(self, model: str, now: float) -> float | None:
        """Return the present rate, None when too little was seen."""
        rate = self._rates.get(model)
        return rate.rate(now) if rate is not None else None

    def note_route_latency(self, milliseconds: float) -> None:
        """Feed the mean latency of first-attempt routing; slow routing lengthens Retry-After."""
        self._route_latency_ms = ewma(self._route_latency_ms, milliseconds, ROUTE_LATENCY_ALPHA)

    def retry_after_ms(self, model: str, waiting: int, now: float) -> int:
        """Milliseconds a refused client of this model should wait behind `waiting` others."""
        return retry_after_ms(
            waiting,
            releases_per_second=self.releases_per_second(model, now),
            route_latency_ms=self._route_latency_ms or 0.0,
            random=self._random,
        )
