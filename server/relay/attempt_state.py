"""The life of one attempt as a reducer: `(phase, event) -> (phase, effects)`.

Invariant: any sequence of events gives at most one terminal effect, one RELEASE not after it, and at most one CANCEL.
Invariant: RELEASE stands before CANCEL, and DETACH before CANCEL; a parked attempt is cancelled but stays attached.
Source: wire protocol, one attempt; routing, reservation life-cycle.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, TypeAlias


class Phase(StrEnum):
    """Where an attempt is. Only DONE is final; PARKED waits for the provider's last word."""

    RESERVED = "reserved"
    SENT = "sent"
    ACCEPTED = "accepted"
    STREAMING = "streaming"
    """Chunks came, none with content."""
    COMMITTED = "committed"
    """Content came: the attempt is chosen, no failover from here on."""
    PARKED = "parked"
    """The consumer is gone after commit; the capacity is free already."""
    DONE = "done"


class Event(StrEnum):
    """What can happen to an attempt."""

    SENT = "sent"
    SEND_FAILED = "send_failed"
    ACCEPTED = "accepted"
    PREAMBLE = "preamble"
    CONTENT = "content"
    COMPLETED = "completed"
    FAILED = "failed"
    """The provider's terminal: error, violation, text that is not UTF-8, or a lost connection."""
    CLOCK = "clock"
    """The first-content deadline passed."""
    CUT = "cut"
    """We give up on the provider after commit: it is silent or sends too much."""
    CONSUMER_GONE = "consumer_gone"
    OVERFLOW = "overflow"
    SHUTDOWN = "shutdown"
    LOST = "lost"
    """Another attempt of the same request was first with content."""
    PARK_EXPIRED = "park_expired"


class Effect(StrEnum):
    """What the shell has to do, in this order."""

    COMMIT = "commit"
    RELEASE = "release"
    DETACH = "detach"
    CANCEL = "cancel"
    PARK = "park"
    # Terminal effects: exactly one per attempt.
    RETRY = "retry"
    """Over before commit; the request may go elsewhere."""
    ABANDON = "abandon"
    """Over before commit and nobody waits any more."""
    LOSE = "lose"
    """Over before commit because a rival committed; nobody's failure."""
    FINISH = "finish"
    """Complete, with usage."""
    BREAK = "break"
    """Over after commit without an end."""
    SETTLE_LATE = "settle_late"
    """A parked attempt completed: its usage counts."""
    EXPIRE = "expire"
    """A parked attempt ended without usage."""


# Tuples: they are searched by identity.
TERMINAL: Final = (
    Effect.RETRY,
    Effect.ABANDON,
    Effect.LOSE,
    Effect.FINISH,
    Effect.BREAK,
    Effect.SETTLE_LATE,
    Effect.EXPIRE,
)

Step: TypeAlias = tuple[Phase, tuple[Effect, ...]]

BEFORE_COMMIT: Final = (Phase.RESERVED, Phase.SENT, Phase.ACCEPTED, Phase.STREAMING)

_RANK: Final = {Phase.RESERVED: 0, Phase.SENT: 1, Phase.ACCEPTED: 2, Phase.STREAMING: 3}
_PROGRESS: Final = {Event.SENT: Phase.SENT, Event.ACCEPTED: Phase.ACCEPTED, Event.PREAMBLE: Phase.STREAMING}

_EARLY: Final[dict[Event, Step]] = {
    Event.SEND_FAILED: (Phase.DONE, (Effect.RELEASE, Effect.DETACH, Effect.RETRY)),
    Event.CONTENT: (Phase.COMMITTED, (Effect.COMMIT,)),
    Event.COMPLETED: (Phase.DONE, (Effect.COMMIT, Effect.RELEASE, Effect.FINISH)),
    Event.FAILED: (Phase.DONE, (Effect.RELEASE, Effect.RETRY)),
    Event.CLOCK: (Phase.DONE, (Effect.RELEASE, Effect.DETACH, Effect.CANCEL, Effect.RETRY)),
    Event.CUT: (Phase.DONE, (Effect.RELEASE, Effect.DETACH, Effect.CANCEL, Effect.RETRY)),
    Event.CONSUMER_GONE: (Phase.DONE, (Effect.RELEASE, Effect.DETACH, Effect.CANCEL, Effect.ABANDON)),
    Event.SHUTDOWN: (Phase.DONE, (Effect.RELEASE, Effect.DETACH, Effect.CANCEL, Effect.ABANDON)),
    Event.LOST: (Phase.DONE, (Effect.RELEASE, Effect.DETACH, Effect.CANCEL, Effect.LOSE)),
}
_COMMITTED: Final[dict[Event, Step]] = {
    Event.COMPLETED: (Phase.DONE, (Effect.RELEASE, Effect.FINISH)),
    Event.FAILED: (Phase.DONE, (Effect.RELEASE, Effect.BREAK)),
    Event.CUT: (Phase.DONE, (Effect.RELEASE, Effect.DETACH, Effect.CANCEL, Effect.BREAK)),
    Event.CONSUMER_GONE: (Phase.PARKED, (Effect.RELEASE, Effect.CANCEL, Effect.PARK)),
    Event.OVERFLOW: (Phase.PARKED, (Effect.RELEASE, Effect.CANCEL, Effect.PARK)),
    Event.SHUTDOWN: (Phase.DONE, (Effect.RELEASE, Effect.DETACH, Effect.CANCEL, Effect.BREAK)),
}
_PARKED: Final[dict[Event, Step]] = {
    Event.COMPLETED: (Phase.DONE, (Effect.SETTLE_LATE,)),
    Event.FAILED: (Phase.DONE, (Effect.EXPIRE,)),
    Event.PARK_EXPIRED: (Phase.DONE, (Effect.DETACH, Effect.EXPIRE)),
    Event.SHUTDOWN: (Phase.DONE, (Effect.DETACH, Effect.EXPIRE)),
}


def advance(phase: Phase, event: Event) -> Step:
    """The next phase and what to do; an event that means nothing here changes nothing.

    A provider may answer before the sender learns that its frame left, so progress never goes back.
    """
    if phase in BEFORE_COMMIT:
        progress = _PROGRESS.get(event)
        if progress is not None:
            return (progress if _RANK[progress] > _RANK[phase] else phase), ()
        return _EARLY.get(event, (phase, ()))
    if phase is Phase.COMMITTED:
        return _COMMITTED.get(event, (phase, ()))
    if phase is Phase.PARKED:
        return _PARKED.get(event, (phase, ()))
    return phase, ()
