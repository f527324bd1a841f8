"""Derived views of a session: never stored, always computed from the one record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.registry.ledger import NO_SUMS
from server.registry.state import SlotState

if TYPE_CHECKING:
    from server.registry.state import Session, Slot, Status


def is_draining(session: Session, now: float) -> bool:
    """Whether the provider asked for no new work."""
    until = session.live.draining_until
    return until is not None and now < until


def status(session: Session, now: float) -> Status:
    """Return untrusted > offline > draining > serving > online."""
    if session.trust.untrusted is not None:
        return "untrusted"
    if not session.connected:
        return "offline"
    if is_draining(session, now):
        return "draining"
    return "serving" if session.ledger.entries else "online"


def warm_models(session: Session) -> tuple[str, ...]:
    """Models with resident weights, in the order of the report."""
    return tuple(model for model, slot in session.slots.items() if slot.state is SlotState.RESIDENT)


def current_model(session: Session) -> str | None:
    """The most recently resident model that runs something, else the only resident one, else None."""
    resident = [slot for slot in session.slots.values() if slot.state is SlotState.RESIDENT]
    busy = [slot for slot in resident if slot.running > 0]
    if busy:
        return max(busy, key=lambda slot: slot.resident_since or 0.0).model
    return resident[0].model if len(resident) == 1 else None


def total_memory_gb(session: Session) -> float:
    """Memory of the machine in GiB: reported, else registered, else 0 (unknown)."""
    return session.live.total_memory_gb or session.caps.hardware.memory_gb


def in_flight(session: Session, model: str) -> int:
    """Requests of a model on the provider: the ledger alone would miss local ones."""
    slot = session.slot(model)
    fresh, ended = since_report(session, slot)
    return max(session.ledger.sums(model).count, slot.occupancy + fresh - ended)


def since_report(session: Session, slot: Slot) -> tuple[int, int]:
    """Requests of a slot that were taken since its report, and those that it counts although they ended since.

    A report without a number may be older than it seems: it is taken as it is.
    """
    if slot.as_of_seq <= 0:
        return 0, 0
    ledger = session.ledger
    return ledger.sums(slot.model).fresh, ledger.ended.get(slot.model, 0)


def in_flight_total(session: Session) -> int:
    """Requests of all models on the provider."""
    slots, reserved, ended = session.slots, session.ledger.by_model, session.ledger.ended
    total = 0
    for model, slot in slots.items():
        occupancy, sums = slot.running + slot.waiting, reserved.get(model, NO_SUMS)
        if slot.as_of_seq > 0:
            occupancy += sums.fresh - ended.get(model, 0)
        total += max(occupancy, sums.count)
    for model, sums in reserved.items():
        if model not in slots:
            total += sums.count
    return total


def owned_by(session: Session, account_id: str | None) -> bool:
    """Whether the machine is linked to this account."""
    return account_id is not None and session.ident.account_id == account_id
