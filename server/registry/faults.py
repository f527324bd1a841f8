"""Fault memory: what routing remembers of failures, by stable identity, so that a reconnect does not wash it away.

Invariant: every window is bounded, and an identity without an event for 10 minutes is forgotten by the sweep.
Owner: the outcome recorder; gates only read through `FaultView`.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final, Protocol

from server.registry.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Collection

LOAD_COOLDOWN: Final = 120.0
ERROR_STRIKES: Final = 2
ERROR_WINDOW: Final = 60.0
ERROR_COOLDOWN: Final = 300.0
ERROR_STATUSES: Final = frozenset({500, 502, 504})
REJECT_WINDOW: Final = 300.0
REJECT_OUTCOMES_MIN: Final = 8
REJECT_RATE_FREE: Final = 0.25
OUTCOMES_KEPT: Final = 256
IDLE_FORGET: Final = 600.0
IDENTITIES_MAX: Final = 20_000


class FaultView(Protocol):
    """What gates and cost ask; no answer changes another one."""

    @property
    def suspects(self) -> Collection[str] | None:
        """Identities of which there is anything to ask; all others are free of faults. None: ask of everyone."""

    def rejection(
        self, stable_id: str, model: str, shape: str, now: float, *, ignore_health: bool = False
    ) -> Reason | None:
        """Return the first open fault gate of the pair in gate order, or None; `ignore_health` skips breakers."""

    def capacity_rate(self, stable_id: str, model: str, now: float) -> float:
        """Share of capacity refusals that costs something, else 0."""


class Outcomes:
    """The last refusals and acceptances of a pair, counted as they come and go."""

    __slots__ = ("_recent", "_rejected")

    def __init__(self) -> None:
        self._recent: deque[tuple[float, bool]] = deque()
        self._rejected = 0

    def add(self, now: float, *, rejected: bool) -> None:
        """Append an outcome; the oldest one leaves when there are too many."""
        if len(self._recent) >= OUTCOMES_KEPT:
            self._drop_oldest()
        self._recent.append((now, rejected))
        self._rejected += rejected

    def rate(self, now: float) -> float:
        """Share of refusals within the window when it is high enough over enough outcomes, else 0."""
        self._expire(now)
        count = len(self._recent)
        if count < REJECT_OUTCOMES_MIN:
            return 0.0
        rate = self._rejected / count
        return rate if rate > REJECT_RATE_FREE else 0.0

    def has_refusals(self, now: float) -> bool:
        """Whether a refusal lies within the window."""
        self._expire(now)
        return self._rejected > 0

    def _expire(self, now: float) -> None:
        while self._recent and now - self._recent[0][0] > REJECT_WINDOW:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, rejected = self._recent.popleft()
        self._rejected -= rejected


class _Identity:
    __slots__ = ("cooldown_until", "last_event", "load_until", "outcomes", "strikes")

    def __init__(self) -> None:
        self.last_event = 0.0
        self.load_until: dict[str, float] = {}
        self.strikes: dict[tuple[str, str], deque[float]] = {}
        self.cooldown_until: dict[tuple[str, str], float] = {}
        self.outcomes: dict[str, Outcomes] = {}

    def is_suspect(self, now: float) -> bool:
        return bool(
            any(until > now for until in self.load_until.values())
            or any(until > now for until in self.cooldown_until.values())
            or any(outcomes.has_refusals(now) for outcomes in self.outcomes.values())
        )


class FaultMemory:
    """Dispatch-load cooldowns, error strikes per model and shape, and the capacity-refusal rate."""

    def __init__(self) -> None:
        self._identities: OrderedDict[str, _Identity] = OrderedDict()
        self._suspects: set[str] = set()

    @property
    def suspects(self) -> Collection[str]:
        """Identities with an open cooldown or a refusal in the window, and some whose last one expired."""
        return self._suspects

    def __len__(self) -> int:
        return len(self._identities)

    def _touch(self, stable_id: str, now: float) -> _Identity:
        one = self._identities.get(stable_id)
        if one is None:
            if len(self._identities) >= IDENTITIES_MAX:
                forgotten, _ = self._identities.popitem(last=False)
                self._suspects.discard(forgotten)
            one = self._identities[stable_id] = _Identity()
        self._identities.move_to_end(stable_id)
        one.last_event = now
        return one

    def load_failed(self, stable_id: str, model: str, now: float) -> None:
        """Note that a load at dispatch time failed: no such dispatch for 2 minutes."""
        self._touch(stable_id, now).load_until[model] = now + LOAD_COOLDOWN
        self._suspects.add(stable_id)

    def error(self, stable_id: str, model: str, shape: str, status: int, now: float) -> None:
        """Note a provider fault; the second within a minute closes the pair for this shape for 5 minutes."""
        if status not in ERROR_STATUSES:
            return
        one = self._touch(stable_id, now)
        strikes = one.strikes.setdefault((model, shape), deque(maxlen=ERROR_STRIKES))
        strikes.append(now)
        if len(strikes) == ERROR_STRIKES and now - strikes[0] <= ERROR_WINDOW:
            one.cooldown_until[model, shape] = now + ERROR_COOLDOWN
            self._suspects.add(stable_id)

    def success(self, stable_id: str, model: str, shape: str, now: float) -> None:
        """Note a completed request: its shape and the model's loads are proven again."""
        one = self._identities.get(stable_id)
        if one is None:
            return
        self._touch(stable_id, now)
        one.load_until.pop(model, None)
        one.strikes.pop((model, shape), None)
        one.cooldown_until.pop((model, shape), None)
        if stable_id in self._suspects and not one.is_suspect(now):
            self._suspects.discard(stable_id)

    def accepted(self, stable_id: str, model: str, now: float) -> None:
        """Note first content: the provider had room."""
        self._outcome(stable_id, model, now, rejected=False)

    def capacity_rejected(self, stable_id: str, model: str, now: float) -> None:
        """Note that the provider refused for lack of room."""
        self._outcome(stable_id, model, now, rejected=True)

    def _outcome(self, stable_id: str, model: str, now: float, *, rejected: bool) -> None:
        one = self._touch(stable_id, now)
        outcomes = one.outcomes.get(model)
        if outcomes is None:
            outcomes = one.outcomes[model] = Outcomes()
        outcomes.add(now, rejected=rejected)
        if rejected:
            self._suspects.add(stable_id)

    def rejection(
        self, stable_id: str, model: str, shape: str, now: float, *, ignore_health: bool = False
    ) -> Reason | None:
        """Return the first open fault gate of the pair; health breakers are not kept here, so nothing is ignored."""
        del ignore_health
        one = self._identities.get(stable_id)
        if one is None:
            return None
        if one.load_until and one.load_until.get(model, now) > now:
            return Reason.DISPATCH_LOAD_COOLDOWN
        if one.cooldown_until and one.cooldown_until.get((model, shape), now) > now:
            return Reason.ERROR_COOLDOWN
        return None

    def capacity_rate(self, stable_id: str, model: str, now: float) -> float:
        """Share of refusals in 5 minutes when it is above 0.25 over at least 8 outcomes, else 0; O(1) amortised."""
        one = self._identities.get(stable_id)
        outcomes = one.outcomes.get(model) if one is not None else None
        return outcomes.rate(now) if outcomes is not None else 0.0

    def sweep(self, now: float) -> None:
        """Forget identities without an event for 10 minutes."""
        stale = [key for key, one in self._identities.items() if now - one.last_event > IDLE_FORGET]
        for key in stale:
            del self._identities[key]
        kept = self._suspects & self._identities.keys()
        self._suspects = {key for key in kept if self._identities[key].is_suspect(now)}
