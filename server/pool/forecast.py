"""Learns how many machines each model needs at each hour of the week, and says how many it will need soon.

Source: routing, warm-pool controller, forecast.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Final

from server.pool.sizing import BURST_BUFFER, CONCURRENCY_FALLBACK
from server.registry.demand_profile import HOUR_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.pool.fleet_reader import FleetReader

LEAD: Final = 2.0
"""How many times the duration of a load the forecast looks ahead."""
USUAL_LOAD_SECONDS: Final = 60.0
"""For models of which no load was seen yet."""
LEAD_MAX: Final = 3_600.0
WATCHED_MAX: Final = 60.0
"""After a longer pause between two rounds the rest of it was not watched."""
FAILURES_MAX: Final = 3
"""Loads for nobody that may fail before one succeeds; then nothing is foreseen for the model until the next hour."""


class Forecast:
    """Feeds the demand profiles and reads them; `wall_clock` gives seconds since the epoch."""

    def __init__(self, fleet: FleetReader, wall_clock: Callable[[], float]) -> None:
        self._fleet = fleet
        self._wall_clock = wall_clock
        self._learnt_at: float | None = None
        self._failures = Counter[str]()
        self._failures_hour = 0.0

    def learn(self, now: float) -> None:
        """Note what every model needs at the moment, for the time since the last call."""
        before, self._learnt_at = self._learnt_at, now
        if before is None:
            return
        seconds, at = min(WATCHED_MAX, now - before), self._wall_clock()
        demand = self._fleet.demand
        for model in dict.fromkeys((*demand.profiles.models(), *demand.in_use(now))):
            demand.profiles.note(model, self.needed(model), at, seconds)

    def needed(self, model: str) -> int:
        """Machines that the present requests of a model fill, and one for a burst; from running sums alone."""
        pool, load = self._fleet.pool(model), self._fleet.queue_depth(model)
        places = float(CONCURRENCY_FALLBACK)
        if pool is not None:
            busy = pool.running + pool.waiting
            load += busy
            places = (busy + pool.idle_slots) / max(1, pool.warm) or places
        return math.ceil(load / places) + BURST_BUFFER if load else 0

    def foreseen(self) -> dict[str, int]:
        """Machines that models will need once loads that begin now have ended; models that need none are left out.

        So are those whose loads failed too often in this hour.
        """
        at, profiles, failures = self._wall_clock(), self._fleet.demand.profiles, self._failures_of_hour()
        hopeful = (model for model in profiles.models() if failures[model] < FAILURES_MAX)
        found = {model: profiles.foreseen(model, at + self._lead(model)) for model in hopeful}
        return {model: machines for model, machines in found.items() if machines}

    def load_failed(self, model: str) -> None:
        """Note that a load that was foreseen failed."""
        self._failures_of_hour()[model] += 1

    def load_succeeded(self, model: str) -> None:
        """Note that a load succeeded: those that failed before it no longer count."""
        del self._failures[model]

    def _failures_of_hour(self) -> Counter[str]:
        """The failures of the present hour; an hour begins without any."""
        hour = self._wall_clock() // HOUR_SECONDS
        if hour != self._failures_hour:
            self._failures_hour = hour
            self._failures.clear()
        return self._failures

    def _lead(self, model: str) -> float:
        seconds = self._fleet.load_durations.known(model, "")
        return min(LEAD_MAX, LEAD * (USUAL_LOAD_SECONDS if seconds is None else seconds))
