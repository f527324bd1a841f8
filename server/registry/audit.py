"""The reservation auditor: finds capacity that nobody will give back any more."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from msgspec import Struct

from server.registry.ledger import ReleaseCause

if TYPE_CHECKING:
    from collections.abc import Iterable

    from server.registry.state import Session

log = logging.getLogger(__name__)


class AuditFinding(Struct, frozen=True):
    """A reservation that nobody seems to own; `released` tells whether the auditor gave its capacity back."""

    request_id: str
    session_id: str
    model: str
    age_seconds: float
    released: bool


def audit(sessions: Iterable[Session], now: float, *, older_than: float) -> tuple[AuditFinding, ...]:
    """Report reservations older than `older_than` seconds without a living owner.

    One whose bound owner has ended is released as well; one that never got an owner is only reported, because its
    request may still be running.
    """
    findings = []
    for session in sessions:
        for reservation in tuple(session.ledger.entries.values()):
            age = now - reservation.reserved_at
            if age < older_than or (reservation.has_owner and not reservation.owner_gone()):
                continue
            released = reservation.owner_gone() and reservation.release(now, cause=ReleaseCause.AUDIT)
            findings.append(
                AuditFinding(
                    request_id=reservation.request_id,
                    session_id=session.session_id,
                    model=reservation.model,
                    age_seconds=age,
                    released=released,
                )
            )
            log.error("reservation_without_owner", extra={"request_id": reservation.request_id, "released": released})
    return tuple(findings)
