"""Events of our own Stripe account: payment pages, refunds, disputes, and transfers that were reversed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from server.payments.deposits import OrderUnknown, PaymentMismatch
from server.payments.stripe_objects import Charge, CheckoutSession, Dispute, Event, read_json
from server.payments.webhooks import EventRefused

if TYPE_CHECKING:
    from server.payments.alerts import Alerts
    from server.payments.connect_events import ConnectEvents
    from server.payments.deposits import Deposits
    from server.payments.takebacks import Takebacks

DEPOSIT_EVENTS: Final = frozenset(
    {
        "checkout.session.completed",
        "checkout.session.async_payment_succeeded",
        "checkout.session.async_payment_failed",
        "checkout.session.expired",
        "charge.refunded",
        "charge.dispute.created",
        "transfer.reversed",
    }
)


class DepositEvents:
    """Handles them. Transfers belong to our account, so their reversals are delivered here."""

    def __init__(
        self, *, deposits: Deposits, takebacks: Takebacks, alerts: Alerts, connect: ConnectEvents | None
    ) -> None:
        self._deposits = deposits
        self._takebacks = takebacks
        self._alerts = alerts
        self._connect = connect

    async def handle(self, event: Event) -> str:
        """Handle one event and say what became of it; raises what makes Stripe deliver it again."""
        match event.type:
            case "checkout.session.completed":
                page = read_json(event.data.object, CheckoutSession)
                return await self._paid(page) if page.payment_status == "paid" else "waits for its payment"
            case "checkout.session.async_payment_succeeded":
                return await self._paid(read_json(event.data.object, CheckoutSession))
            case "checkout.session.async_payment_failed":
                return await self._unpaid(read_json(event.data.object, CheckoutSession), failed=True)
            case "checkout.session.expired":
                return await self._unpaid(read_json(event.data.object, CheckoutSession), failed=False)
            case "charge.refunded":
                charge = read_json(event.data.object, Charge)
                return await self._takebacks.refunded(charge, refunded_before=_refunded_before(event))
            case "charge.dispute.created":
                return await self._takebacks.disputed(read_json(event.data.object, Dispute))
            case "transfer.reversed" if self._connect is not None:
                return await self._connect.handle(event)
            case _:
                return "ignored"

    async def _paid(self, page: CheckoutSession) -> str:
        try:
            return await self._deposits.settle_paid(page)
        except PaymentMismatch as mismatch:
            self._alerts("deposit_mismatch", stripe_session=page.id, why=str(mismatch))
            raise EventRefused("The payment does not fit its order.") from None
        except OrderUnknown:
            self._alerts("deposit_unknown_order", stripe_session=page.id)
            raise

    async def _unpaid(self, page: CheckoutSession, *, failed: bool) -> str:
        return (
            "closed" if await self._deposits.close_unpaid(page, "failed" if failed else "expired") else "nothing open"
        )


def _refunded_before(event: Event) -> int:
    """Return how much of the charge was refunded before this event, in cents."""
    before = (event.data.previous_attributes or {}).get("amount_refunded", 0)
    return before if isinstance(before, int) and before > 0 else 0
