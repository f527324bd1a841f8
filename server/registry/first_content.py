"""How long first contents really take, and whether a missed deadline says anything about the machine that missed it.

A deadline below what a model needs would otherwise cut every request, brand every machine, and teach nothing: cut
requests have no time to first content. Here they count as long ones, so the deadline grows until answers come; but
where answers do come, it never runs far ahead of the longest of them, or requests that hang would make all others wait.
Invariant: at most `MODELS_MAX` models, the least recently fed one leaves first.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from server.registry.rates import SampleWindow

WINDOW: Final = 200
SAMPLES_MIN: Final = 20
SLACK: Final = 1.5
"""The deadline leaves half as much again as nine of ten first contents took."""
CUT_FACTOR: Final = 1.5
"""A request that was cut would have taken longer than its deadline: it counts as this much of it."""
LEAST_SHARE: Final = 0.5
"""A dispatch that had less of the allowance than this shows nothing by missing its end."""
GROWTH_MAX: Final = 12.0
REACH: Final = 2.0
"""How far beyond the longest first content of late the deadline may go, to see whether more would come."""
BLAME_SECONDS: Final = 120.0
BLAME_MACHINES_MIN: Final = 3
BLAME_SHARE: Final = 0.3
MODELS_MAX: Final = 4_096
MACHINES_KEPT: Final = 1_024


class _Model:
    """One model: times as parts of the configured allowance, and who lately delivered or missed."""

    __slots__ = ("delivered", "missed", "seen", "times")

    def __init__(self) -> None:
        self.times = SampleWindow(WINDOW)
        self.seen = SampleWindow(WINDOW)
        """Those of them that were delivered."""
        self.delivered: OrderedDict[str, float] = OrderedDict()
        self.missed: OrderedDict[str, float] = OrderedDict()


class FirstContentTimes:
    """One record per model; `allowance` is the configured time for the request, in seconds, prompt included."""

    def __init__(self) -> None:
        self._models: OrderedDict[str, _Model] = OrderedDict()

    def delivered(self, model: str, stable_id: str, seconds: float, allowance: float, now: float) -> None:
        """Note a first content that took `seconds` from its dispatch."""
        if allowance <= 0:
            return
        found = self._of(model)
        found.times.add(seconds / allowance)
        found.seen.add(seconds / allowance)
        _note(found.delivered, stable_id, now)

    def missed(self, model: str, stable_id: str, seconds: float, allowance: float, now: float) -> bool:
        """Note a dispatch that was given up after `seconds`; True when this speaks against the machine.

        It does not when several machines missed lately and they are a good part of all that were asked: then the
        deadline is too short for the model, or the fleet is overloaded.
        """
        if allowance <= 0:
            return True
        if seconds < LEAST_SHARE * allowance:
            return False  # an earlier attempt had used up the time
        found = self._of(model)
        found.times.add(CUT_FACTOR * seconds / allowance)
        _note(found.missed, stable_id, now)
        late = _recent(found.missed, now)
        asked = late | _recent(found.delivered, now)
        return len(late) < BLAME_MACHINES_MIN or len(late) <= BLAME_SHARE * len(asked)

    def extended(self, model: str, allowance: float) -> float:
        """The time that a request of the model should get: the configured one, or more where more was needed."""
        found = self._models.get(model)
        if found is None or len(found.times) < SAMPLES_MIN:
            return allowance
        limit = GROWTH_MAX
        if len(found.seen) >= SAMPLES_MIN:
            limit = min(limit, REACH * max(1.0, found.seen.highest()))
        return allowance * min(limit, max(1.0, SLACK * found.times.p90()))

    def _of(self, model: str) -> _Model:
        found = self._models.get(model)
        if found is None:
            if len(self._models) >= MODELS_MAX:
                self._models.popitem(last=False)
            found = self._models[model] = _Model()
        else:
            self._models.move_to_end(model)
        return found


def _note(machines: OrderedDict[str, float], stable_id: str, now: float) -> None:
    machines.pop(stable_id, None)
    machines[stable_id] = now
    while len(machines) > MACHINES_KEPT or now - next(iter(machines.values())) > BLAME_SECONDS:
        machines.popitem(last=False)


def _recent(machines: OrderedDict[str, float], now: float) -> set[str]:
    return {one for one, at in machines.items() if now - at <= BLAME_SECONDS}
