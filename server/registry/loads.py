"""Pending model loads of a session: pure transitions between asked, loading, backing off and done.

Invariant: at most one pending load per session; a status without a pending load changes nothing.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

import msgspec

from server.registry.state import LoadIntent, LoadState, Slot, SlotSource, SlotState

if TYPE_CHECKING:
    from server.registry.state import LoadCause, Session

PENDING_SECONDS: Final = 120.0
STARTED_SECONDS: Final = 600.0
BACKOFF_SECONDS: Final = 30.0


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


def apply_status(session: Session, model: str, status: str, now: float) -> LoadOutcome:
    """Apply `started`, `succeeded` or `failed`; anything without a live pending load is ignored."""
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
