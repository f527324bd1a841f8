"""Whether a request that waits for its first content gets a second machine. Pure: no clock, no sockets.

A backup costs a machine's time, so the governor lets one through only while machines are idle, keeps their number
below a share of the idle places, and stops when backups do not win.

Invariant: every granted ticket is returned exactly once, whatever became of the backup.
Source: routing, speculative dispatch.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from server.registry.rates import ewma

LEAST_REMAINING: Final = 0.5
"""Seconds: with less than this left a backup cannot answer in time."""
_QUOTE_FLOOR: Final = 1.0
_QUOTE_MARGIN: Final = 0.5
_WIN_ALPHA: Final = 0.2
_WIN_RATE_MIN: Final = 0.10
_OUTCOMES_MIN: Final = 8
_EXPLORE_EVERY: Final = 16
_IDLE_ENOUGH: Final = 2
MODELS_MAX: Final = 4_096


class HedgeVerdict(StrEnum):
    """What the governor said; the first rule that fails names it."""

    ALLOW = "allow"
    SUPPRESS_QUEUED = "suppress_queued"
    SUPPRESS_NO_IDLE_CAPACITY = "suppress_no_idle_capacity"
    SUPPRESS_GLOBAL_BUDGET = "suppress_global_budget"
    SUPPRESS_WIN_RATE = "suppress_win_rate"


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgePolicy:
    """`at` is the share of the remaining time after which a backup starts, `divisor` bounds backups to idle/divisor."""

    at: float = 0.5
    divisor: int = 4


@dataclass(frozen=True, slots=True)
class IdlePlaces:
    """Free places of warm machines other than the one that is waited for, and whether one of them has nothing to do."""

    slots: int
    alternative: bool


def speculative_offset(remaining: float, *, at: float = 0.5, q90: float | None = None) -> float:
    """Seconds from a dispatch to its backup, of `remaining` seconds until the deadline.

    `q90` is what nine of ten backups would need, where that is known well: then the backup starts early enough.
    """
    latest = at * remaining
    if q90 is None:
        return latest
    return max(0.0, min(latest, remaining - max(q90, _QUOTE_FLOOR) - _QUOTE_MARGIN))


def hedge_budget(idle_slots: int, divisor: int = 4) -> int:
    """Backups that may run at once beside this many idle places."""
    return max(1, idle_slots // divisor) if idle_slots > 0 else 0


class WinRate:
    """How often backups win lately, and when one is tried although they rarely do."""

    __slots__ = ("_outcomes", "_rate", "_suppressed")

    def __init__(self) -> None:
        self._rate: float | None = None
        self._outcomes = 0
        self._suppressed = 0

    @property
    def rate(self) -> float | None:
        """EWMA of wins (1) and losses (0); None before the first outcome."""
        return self._rate

    def note(self, *, won: bool) -> None:
        """Take one outcome."""
        self._rate = ewma(self._rate, 1.0 if won else 0.0, _WIN_ALPHA)
        self._outcomes += 1

    def permits(self) -> bool:
        """Whether backups pay; counts the refusals, each sixteenth of which passes as an exploration."""
        if self._rate is None or self._outcomes < _OUTCOMES_MIN or self._rate >= _WIN_RATE_MIN:
            return True
        self._suppressed += 1
        return self._suppressed % _EXPLORE_EVERY == 0


class HedgeTicket:
    """The right to run one backup; give it back with `done`."""

    __slots__ = ("_done", "_owner")

    def __init__(self, owner: ModelGovernor) -> None:
        self._owner = owner
        self._done = False

    def done(self, *, won: bool | None) -> None:
        """Give the place back; `won` is None when the backup was never sent or nobody waited for the outcome."""
        if self._done:
            return
        self._done = True
        self._owner.returned(won=won)


class ModelGovernor:
    """The backups of one model."""

    __slots__ = ("_divisor", "active", "wins")

    def __init__(self, divisor: int) -> None:
        self._divisor = divisor
        self.active = 0
        self.wins = WinRate()

    def claim(self, *, queued: int, idle: IdlePlaces) -> HedgeTicket | HedgeVerdict:
        """Check every rule and take a place of the budget in the same step."""
        if queued > 0:
            return HedgeVerdict.SUPPRESS_QUEUED
        if not idle.alternative and idle.slots < _IDLE_ENOUGH:
            return HedgeVerdict.SUPPRESS_NO_IDLE_CAPACITY
        if self.active >= hedge_budget(idle.slots, self._divisor):
            return HedgeVerdict.SUPPRESS_GLOBAL_BUDGET
        if not self.wins.permits():
            return HedgeVerdict.SUPPRESS_WIN_RATE
        self.active += 1
        return HedgeTicket(self)

    def returned(self, *, won: bool | None) -> None:
        """Take a place back; called by the ticket."""
        self.active -= 1
        if won is not None:
            self.wins.note(won=won)


class HedgeGovernor:
    """The governors of all models; at most `MODELS_MAX`, beyond which the oldest one without a backup leaves."""

    def __init__(self, policy: HedgePolicy | None = None) -> None:
        self.policy = policy if policy is not None else HedgePolicy()
        self._models: dict[str, ModelGovernor] = {}

    def of(self, model: str) -> ModelGovernor:
        """The governor of a model."""
        found = self._models.get(model)
        if found is None:
            if len(self._models) >= MODELS_MAX:
                resting = next((name for name, one in self._models.items() if not one.active), None)
                if resting is not None:
                    del self._models[resting]
            found = self._models[model] = ModelGovernor(self.policy.divisor)
        return found

    @property
    def active(self) -> int:
        """Backups that run now."""
        return sum(one.active for one in self._models.values())
