"""Pending model loads of a session: pure transitions between asked, loading, backing off and done.

Invariant: at most one pending load per session; a status without a pending load changes nothing.
Source: routing, model loads.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum
from typing import TYPE_CHECKING, Final

import msgspec

from server.registry.state import LoadIntent, LoadState, Slot, SlotSource, SlotState

if TYPE_CHECKING:
    from server.registry.state import LoadCause, Session

PENDING_SECONDS: Final = 120.0
STARTED_SECONDS: Final = 600.0
BACKOFF_SECONDS: Final = 30.0


class LoadDurations:
    """Seconds that loads of a model take, also by kind of machine: each new load counts for a quarter.

    Invariant: at most `KEYS_MAX` records, the least recently fed one leaves first.
    """

    KEYS_MAX: Final = 8_192

    def __init__(self) -> None:
        self._seconds: OrderedDict[tuple[str, str | None], float] = OrderedDict()

    def note(self, model: str, chip_class: str, seconds: float) -> None:
        """Take the duration of one load."""
        for key in ((model, chip_class), (model, None)):
            before = self._seconds.pop(key, None)
            if before is None and len(self._seconds) >= self.KEYS_MAX:
                self._seconds.popitem(last=False)
            self._seconds[key] = seconds if before is None else (3 * before + seconds) / 4

    def known(self, model: str, chip_class: str) -> float | None:
        """Seconds that a load takes on such a machine, else on any; None when none was seen."""
        found = self._seconds.get((model, chip_class))
        return self._seconds.get((model, None)) if found is None else found


class LoadOutcome(Enum):
    """What a `load_model_status` did."""

    IGNORED = "ignored"
    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


def is_pending(intent: LoadIntent | None, now: float) -> bool:
    """Whether a load is under way and has not run out of time."""
    return intent is not None and intent.state is not LoadState.BACKOFF and now < intent.expires_at


def may_request(session: Session, model: str, now: float) -> bool:
    """Whether a load may be asked for: nothing else is loading, and a failed one has cooled down."""
    if any(is_pending(intent, now) for intent in session.loads.values()):
        return False
    intent = session.loads.get(model)
    return model in session.caps.models and (intent is None or now >= intent.expires_at)


def request(session: Session, model: str, cause: LoadCause, now: float) -> bool:
    """Note that `load_model` is about to be sent; False when it must not be."""
    if not may_request(session, model, now):
        return False
    session.loads[model] = LoadIntent(
        state=LoadState.REQUESTED, expires_at=now + PENDING_SECONDS, started_at=now, cause=cause
    )
    return True


def apply_status(
    session: Session,
    model: str,
    status: str,
    now: float,
    *,
    durations: LoadDurations | None = None,
) -> LoadOutcome:
    """Apply `started`, `succeeded` or `failed`; anything without a live pending load is ignored.

    A success adds to `durations`.
    """
    intent = session.loads.get(model)
    if intent is None or not is_pending(intent, now):
        return LoadOutcome.IGNORED
    if status == "started":
        session.loads[model] = msgspec.structs.replace(
            intent, state=LoadState.LOADING, expires_at=now + STARTED_SECONDS
        )
        return LoadOutcome.STARTED
    if status == "succeeded":
        del session.loads[model]
        if durations is not None:
            durations.note(model, session.caps.hardware.chip_class, now - intent.started_at)
        _acknowledge(session, model, now)
        return LoadOutcome.SUCCEEDED
    if status == "failed":
        session.loads[model] = msgspec.structs.replace(
            intent, state=LoadState.BACKOFF, expires_at=now + BACKOFF_SECONDS
        )
        return LoadOutcome.FAILED
    return LoadOutcome.IGNORED


def _acknowledge(session: Session, model: str, now: float) -> None:
    """Show the model as resident until the next report; a report of the same moment outranks the acknowledgement."""
    before = session.slots.get(model)
    if before is not None and before.source is SlotSource.CAPACITY and session.live.reported_at >= now:
        return
    if before is not None and before.state is SlotState.RESIDENT:
        return
    session.slots[model] = Slot(
        model=model,
        state=SlotState.RESIDENT,
        tps_decode=before.tps_decode if before is not None else 0.0,
        tps_prefill=before.tps_prefill if before is not None else 0.0,
        source=SlotSource.LOAD_ACK,
        resident_since=now,
    )
    session.reported = None  # the next report must replace this, also when it says what the last one said
