"""What is remembered of the failures of one machine: breakers of the whole machine, and one record per model on it.

Pure: every method takes `now` (seconds of the monotonic clock), and no question changes an answer.
Source: routing, fault memory.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final, NamedTuple

from server.registry.fault_gates import (
    CEILING_SECONDS,
    NEVER,
    BlackHole,
    Breaker,
    Ceiling,
    Clamp,
    Outcomes,
    Strikes,
)
from server.registry.pair_faults import NO_FAULTS, PairFaults
from server.registry.reasons import Reason


class ModelFaults:
    """One model on one machine."""

    __slots__ = ("black_hole", "ceiling", "clamp", "load_until", "outcomes", "shapes")

    def __init__(self) -> None:
        self.load_until = NEVER
        self.outcomes = Outcomes()
        self.black_hole = BlackHole()
        self.clamp = Clamp()
        self.ceiling = Ceiling()
        self.shapes: dict[str, Strikes] = {}

    def is_suspect(self, now: float) -> bool:
        """Whether any question about the pair may have an answer now."""
        return (
            self.load_until > now
            or self.black_hole.suspect
            or self.outcomes.has_refusals(now)
            or self.clamp.engaged(now)
            or self.ceiling.value(now) is not None
            or any(one.until > now for one in self.shapes.values())
        )

    def flips(self, now: float) -> list[float]:
        """The coming moments at which time alone changes an answer."""
        ceiling = self.ceiling.tightened_at + CEILING_SECONDS if self.ceiling.value(now) is not None else math.inf
        moments = [
            self.load_until,
            self.black_hole.until,
            self.clamp.until,
            ceiling,
            self.outcomes.next_expiry(),
            *(one.until for one in self.shapes.values()),
        ]
        return [moment for moment in moments if moment > now]


class FaultEvent(NamedTuple):
    """One thing that went wrong, for the machine's owner; `until` is when the gate opens that it closed, if any."""

    kind: str
    model: str
    at: float
    until: float | None


class Unheard(NamedTuple):
    """A deadline that a machine missed without having been heard since the dispatch."""

    model: str
    shape: str
    status: int


class MachineFaults:
    """One machine by its stable identity.

    `unheard` are misses that wait for a verdict: they count once the machine is heard of again, and are dropped when
    its connection turns out to be lost. Until then it gets nothing.
    """

    __slots__ = (
        "breaker",
        "ejection",
        "events",
        "forgiven_at",
        "last_event",
        "lost_connection",
        "pairs",
        "rejects_in_row",
        "unheard",
        "version",
    )

    REJECTS_IN_ROW: Final = 10
    EVENTS_KEPT: Final = 32
    UNHEARD_KEPT: Final = 32

    def __init__(self) -> None:
        self.last_event = 0.0
        self.version = ""
        self.forgiven_at: float | None = None
        self.rejects_in_row = 0
        self.lost_connection = ""
        self.unheard: deque[Unheard] = deque(maxlen=self.UNHEARD_KEPT)
        self.pairs: dict[str, ModelFaults] = {}
        self.events: deque[FaultEvent] = deque(maxlen=self.EVENTS_KEPT)
        self.breaker = Breaker(in_row=5, window=120.0, min_outcomes=20, share=0.8, first=60.0, longest=300.0)
        self.ejection = Breaker(in_row=8, window=600.0, min_outcomes=15, share=0.9, first=60.0, longest=600.0)

    def of(self, model: str) -> ModelFaults:
        """The record of a model, made on demand."""
        found = self.pairs.get(model)
        if found is None:
            found = self.pairs[model] = ModelFaults()
        return found

    def sick(self, now: float) -> Reason | None:
        """The first breaker of the whole machine that is closed to requests."""
        if self.unheard or self.breaker.hold.closed(now):
            return Reason.BREAKER
        return Reason.EJECTION if self.ejection.hold.closed(now) else None

    def view(self, model: str, now: float) -> PairFaults:
        """What the gates and the cost ask, for one model."""
        pair = self.pairs.get(model)
        sick = self.sick(now)
        flips = [one.hold.until for one in (self.breaker, self.ejection) if one.hold.closed(now)]
        if pair is None:
            return NO_FAULTS if sick is None else PairFaults(sick=sick, flip_at=min(flips, default=math.inf))
        return PairFaults(
            load_cooldown=pair.load_until > now,
            error_shapes=frozenset(shape for shape, one in pair.shapes.items() if one.until > now),
            capacity_cooldown=pair.black_hole.closed(now),
            sick=sick,
            clamped=pair.clamp.engaged(now),
            ceiling=pair.ceiling.value(now),
            rate=pair.outcomes.rate(now),
            probe=pair.black_hole.wants_probe(now),
            flip_at=min((*flips, *pair.flips(now)), default=math.inf),
        )

    def failed(self, now: float) -> None:
        """A fault of the machine."""
        self.breaker.failed(now)
        self.ejection.failed(now)

    def succeeded(self, now: float) -> None:
        """A request that it served."""
        self.rejects_in_row = 0
        self.breaker.succeeded(now)
        self.ejection.succeeded(now)

    def refused(self, now: float) -> None:
        """A refusal for lack of room; ten in a row eject, whatever the models."""
        self.rejects_in_row += 1
        if self.rejects_in_row >= self.REJECTS_IN_ROW:
            self.rejects_in_row = 0
            self.ejection.hold.trip(now)

    def is_suspect(self, now: float) -> bool:
        """Whether any question about the machine may have an answer now."""
        return (
            bool(self.unheard)
            or self.breaker.hold.closed(now)
            or self.ejection.hold.closed(now)
            or any(pair.is_suspect(now) for pair in self.pairs.values())
        )
