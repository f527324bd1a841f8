"""Receiving webhooks: signature over the raw bytes, one row for each event, the handler, and what Stripe is told.

Whatever the handler raises makes Stripe deliver the event again, so a handler is safe to repeat in full.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from server.payments.deposits import OrderUnknown
from server.payments.event_log import finish_event, note_event
from server.payments.failures import StripeFailure
from server.payments.signatures import BadSignature, verify_signature
from server.payments.stripe_objects import Event, UnreadableObject, read_json
from server.payments.takebacks import OrderNotCompleted
from server.store import StoreError

if TYPE_CHECKING:
    from protocol.settings import Secret
    from server.payments.alerts import PaymentsMeter, WebhookEndpoint, WebhookResult
    from server.store import Store

_log = logging.getLogger("darkbloom.payments")

MAX_BODY_BYTES: Final = 1024 * 1024
Handler: TypeAlias = Callable[[Event], Awaitable[str]]

_TRANSIENT: Final = (StoreError, StripeFailure, OrderUnknown, OrderNotCompleted)


class EventRefused(Exception):
    """The event can never be handled, and delivering it again does not help."""


class WebhookDesk:
    """One endpoint. `lenient` endpoints answer malformed events with 200. `clock` gives microseconds."""

    def __init__(
        self,
        *,
        endpoint: WebhookEndpoint,
        secrets: Sequence[Secret],
        handled: frozenset[str],
        handler: Handler,
        store: Store,
        meter: PaymentsMeter,
        clock: Callable[[], int],
        lenient: bool,
    ) -> None:
        self._endpoint = endpoint
        self._secrets = secrets
        self._handled = handled
        self._handler = handler
        self._store = store
        self._meter = meter
        self._clock = clock
        self._lenient = lenient

    async def receive(self, body: bytes, signature: str) -> int:
        """Handle one delivery and return the status for Stripe: 200, 400, or 500 to have it delivered again."""
        result = await self._receive(body, signature)
        self._meter.webhook(self._endpoint, result)
        return {"refused": 400, "failed": 500}.get(result, 200)

    async def _receive(self, body: bytes, signature: str) -> WebhookResult:
        try:
            verify_signature(signature, body, secrets=self._secrets, now_seconds=self._clock() // 1_000_000)
        except BadSignature as bad:
            _log.warning("a webhook was refused", extra={"endpoint": self._endpoint, "why": str(bad)})
            return "refused"
        try:
            event = read_json(body, Event)
        except UnreadableObject:
            return self._unreadable("")
        if event.type not in self._handled:
            return "ignored"
        try:
            return await self._handle(event)
        except UnreadableObject:
            return self._unreadable(event.id)
        except EventRefused as refused:
            _log.error("an event was refused", extra={"event_id": event.id, "why": str(refused)})
            return "refused"
        except _TRANSIENT as failure:
            _log.warning(
                "an event is left for its next delivery",
                extra={"event_id": event.id, "type": event.type, "failure": type(failure).__name__},
            )
            return "failed"

    async def _handle(self, event: Event) -> WebhookResult:
        came = self._clock()
        if not await self._store.write(lambda tx: note_event(tx, event, self._endpoint, came)):
            return "duplicate"
        outcome = await self._handler(event)
        done = self._clock()
        await self._store.write(lambda tx: finish_event(tx, event.id, outcome, done))
        return "handled"

    def _unreadable(self, event_id: str) -> WebhookResult:
        _log.error("a webhook cannot be read", extra={"endpoint": self._endpoint, "event_id": event_id})
        return "ignored" if self._lenient else "refused"
