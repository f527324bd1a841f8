"""Which webhooks came and what became of them: the rows of `stripe_events`.

They only save work on repeated deliveries; what moves money is guarded by its own unique key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from server.payments.alerts import WebhookEndpoint
    from server.payments.stripe_objects import Event
    from server.store.engine import Tx

MAX_OUTCOME_CHARACTERS: Final = 200


async def note_event(tx: Tx, event: Event, endpoint: WebhookEndpoint, now: int) -> bool:
    """Write down that an event came; False when it was handled before."""
    await tx.execute(
        "INSERT INTO stripe_events (event_id, endpoint, type, stripe_account, received_at)"
        " VALUES ($1, $2, $3, $4, $5) ON CONFLICT (event_id) DO NOTHING",
        event.id,
        endpoint,
        event.type,
        event.account or "",
        now,
    )
    return await tx.value("SELECT processed_at FROM stripe_events WHERE event_id = $1", event.id) is None


async def finish_event(tx: Tx, event_id: str, outcome: str, now: int) -> None:
    """Write down what became of an event; the first outcome stays."""
    await tx.execute(
        "UPDATE stripe_events SET processed_at = $2, outcome = $3 WHERE event_id = $1 AND processed_at IS NULL",
        event_id,
        now,
        outcome[:MAX_OUTCOME_CHARACTERS],
    )
