"""How many machines each model needed at every hour of the week, so that they can be warm before they are needed. Pure.

Times are seconds since the epoch; the hours are those of UTC, counted from the epoch's. A week counts half as much as
the week after it. Whoever stores the profiles takes the changed ones from here and gives the stored ones back at the
start.
Invariant: at most `PROFILES_MAX` profiles, the model that needed nothing for the longest time leaves first.
Source: routing, warm-pool controller, forecast.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta, Struct

if TYPE_CHECKING:
    from collections.abc import Iterable

PROFILES_MAX: Final = 256
HOURS: Final = 168
HOUR_SECONDS: Final = 3600.0
FADE: Final = 0.5
TRUSTED: Final = 0.4
"""Weight from which an hour is believed: four fifths of it were watched a week ago, or it has a longer record."""
SELDOM: Final = 0.05
"""A machine that was needed for less than this share of an hour is not kept ready for it."""

Count = Annotated[float, Meta(ge=0, le=1e6)]


class HourOfWeek(Struct, array_like=True, gc=False):
    """One hour of the week: the mean of the machines that were needed then, and how much was seen of it.

    `week` is the one in which it was watched last, -1 for never; `weight` counts hours that were watched, those of
    earlier weeks faded.
    """

    week: Annotated[int, Meta(ge=-1)] = -1
    weight: Count = 0.0
    mean: Count = 0.0

    def faded(self, week: int) -> float:
        """The weight as of a week; none in weeks before it, for it was written while a clock was ahead."""
        return self.weight * FADE ** (week - self.week) if week >= self.week else 0.0


class DemandProfile(Struct):
    """The week of one model; `since` is the hour (counted from the epoch) of the first watch, never ahead."""

    model: str
    since: int
    hours: list[HourOfWeek]


class DemandProfiles:
    """The profiles of all models that were used lately."""

    def __init__(self) -> None:
        self._profiles: OrderedDict[str, DemandProfile] = OrderedDict()
        self._changed: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._profiles)

    def models(self) -> tuple[str, ...]:
        """Models with a profile."""
        return tuple(self._profiles)

    def note(self, model: str, machines: int, at: float, seconds: float) -> None:
        """Take that a model needed so many machines for the last `seconds`; a first need begins its profile."""
        week, hour = divmod(int(at // HOUR_SECONDS), HOURS)
        profile = self._profiles.get(model)
        if profile is None:
            if machines <= 0:
                return
            profile = self._begin(model, week * HOURS + hour)
        if machines > 0:
            self._profiles.move_to_end(model)
        profile.since = min(profile.since, week * HOURS + hour)
        found = profile.hours[hour]
        if found.week != week:
            # The hour before is complete now.
            self._changed.setdefault(model)
            found.weight = found.faded(week)
            found.week = week
        watched = seconds / HOUR_SECONDS
        found.weight += watched
        if found.weight > 0:
            found.mean += (machines - found.mean) * watched / found.weight

    def foreseen(self, model: str, at: float) -> int:
        """Machines that a model will need then; 0 before its first week is over, and where too little is known."""
        profile = self._profiles.get(model)
        number = int(at // HOUR_SECONDS)
        if profile is None or number - profile.since < HOURS:
            return 0
        week, hour = divmod(number, HOURS)
        found = profile.hours[hour]
        return max(0, math.ceil(found.mean - SELDOM)) if found.faded(week) >= TRUSTED else 0

    def _begin(self, model: str, number: int) -> DemandProfile:
        if len(self._profiles) >= PROFILES_MAX:
            gone, _ = self._profiles.popitem(last=False)
            self._changed.pop(gone, None)
        profile = DemandProfile(model, number, [HourOfWeek() for _ in range(HOURS)])
        self._profiles[model] = profile
        return profile

    # Storing

    def take_changed(self, limit: int) -> list[DemandProfile]:
        """Hand out some changed profiles, oldest change first; give those back that could not be written."""
        models = list(islice(self._changed, limit))
        for model in models:
            del self._changed[model]
        return [self._profiles[model] for model in models]

    def put_back(self, profiles: Iterable[DemandProfile]) -> None:
        """Count these profiles as changed again."""
        for profile in profiles:
            if profile.model in self._profiles:
                self._changed.setdefault(profile.model)

    def restore(self, profiles: Iterable[DemandProfile]) -> None:
        """Take stored profiles, the most recently used first; what is known already stays."""
        for profile in profiles:
            if profile.model in self._profiles or len(self._profiles) >= PROFILES_MAX:
                continue
            self._profiles[profile.model] = profile
            self._profiles.move_to_end(profile.model, last=False)
