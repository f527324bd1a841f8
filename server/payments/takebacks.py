"""Payments that went back to the customer: what is left of the credits goes too, never more, and a person is told.

Invariant: each refund step and each dispute is taken back at most once, all those of an order together take at most
its amount, and a balance never goes below zero. Whoever finds one taken back of which this process has not told anybody
tells it: the answer to the COMMIT may have been lost, or a process have died before it told. A person may hear of one
again after a restart, but never not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, cast

from server.billing.ledger import STRIPE_IN, Entry, insert_txn, lock_balances, store_balance, write_entries
from server.payments.fees import MICRO_USD_PER_CENT
from server.payments.orders import lock_order

if TYPE_CHECKING:
    from server.payments.alerts import Alerts
    from server.payments.orders import Order
    from server.payments.stripe_api import StripeApi
    from server.payments.stripe_objects import Charge, Dispute
    from server.store import Store, Tx

MAX_REMEMBERED: Final = 10_000


class OrderNotCompleted(Exception):
    """The order is not credited yet; Stripe shall ask again once it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Takeback:
    """What a customer got back: `reference` is unique for each step of it, `cents` what this step returned."""

    kind: Literal["charge_refunded", "charge_disputed"]
    reference: str
    cents: int
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Taken:
    account_id: str
    taken_micro_usd: int
    missing_micro_usd: int
    fresh: bool


class Takebacks:
    """Debits accounts for refunds and disputes. `clock` gives microseconds."""

    def __init__(self, *, store: Store, stripe: StripeApi, alerts: Alerts, clock: Callable[[], int]) -> None:
        self._store = store
        self._stripe = stripe
        self._alerts = alerts
        self._clock = clock
        self._told: dict[str, None] = {}

    async def refunded(self, charge: Charge, *, refunded_before: int) -> str:
        """Handle a charge of which more was refunded than the `refunded_before` cents; returns what became of it.

        Charges carry the sum of all refunds: the sum names the step, so that repeated events find it done.
        """
        return await self._take(
            Takeback(
                kind="charge_refunded",
                reference=f"stripe_refund:{charge.id}:{charge.amount_refunded}",
                cents=charge.amount_refunded - refunded_before,
                metadata=charge.metadata or {},
            )
        )

    async def disputed(self, dispute: Dispute) -> str:
        """Handle a dispute; asks Stripe for the payment's metadata. Raises StripeFailure."""
        metadata = await self._stripe.payment_metadata(dispute.payment_intent) if dispute.payment_intent else {}
        return await self._take(
            Takeback(
                kind="charge_disputed",
                reference=f"stripe_dispute:{dispute.id}",
                cents=dispute.amount,
                metadata=metadata,
            )
        )

    async def _take(self, back: Takeback) -> str:
        order_id = back.metadata.get("billing_session_id", "")
        now = self._clock()

        async def work(tx: Tx) -> _Taken | None:
            order = await lock_order(tx, order_id=order_id, external_id="")
            if order is None or order.account_id != back.metadata.get("consumer_key"):
                return None
            if order.status != "completed":
                raise OrderNotCompleted(f"The order {order.id} is {order.status}, not completed.")
            txn_id = await insert_txn(tx, "deposit_refund", back.reference, now)
            if txn_id is None:
                return await _done_before(tx, back, order)
            wanted = await _wanted(tx, back, order, txn_id)
            before = (await lock_balances(tx, [order.account_id], now))[order.account_id]
            taken = min(wanted, before.free_credits)
            after = before._replace(balance=before.balance - taken)
            await store_balance(tx, order.account_id, after, now)
            debit = Entry(order.account_id, "refund", -taken, reference=_mark(order))
            counter = Entry(STRIPE_IN, "refund", taken)
            await write_entries(tx, txn_id, back.reference, [(debit, after.balance), (counter, None)], now)
            return _Taken(order.account_id, taken, wanted - taken, fresh=True)

        taken = await self._store.write(work)
        if taken is None or not (self._tell(back, taken) or taken.fresh):
            return "nothing to take back"
        return f"took {taken.taken_micro_usd}, missing {taken.missing_micro_usd}"

    def _tell(self, back: Takeback, taken: _Taken) -> bool:
        """Raise the alert; False when this process has raised it before."""
        if back.reference in self._told:
            return False
        if len(self._told) >= MAX_REMEMBERED:
            del self._told[next(iter(self._told))]
        self._told[back.reference] = None
        self._alerts(
            back.kind,
            account_id=taken.account_id,
            reference=back.reference,
            taken_micro_usd=taken.taken_micro_usd,
            missing_micro_usd=taken.missing_micro_usd,
        )
        return True


def _mark(order: Order) -> str:
    return f"deposit:{order.id}"


async def _wanted(tx: Tx, back: Takeback, order: Order, txn_id: int) -> int:
    """Return what a takeback of a locked order asks for: no more than those before it have left of the order."""
    left = order.amount_micro_usd - await _sum_taken(tx, order, "t.id < $3", txn_id)
    return max(0, min(back.cents * MICRO_USD_PER_CENT, left))


async def _done_before(tx: Tx, back: Takeback, order: Order) -> _Taken:
    """Tell what a takeback of a locked order did when it was done."""
    sql = "SELECT id FROM ledger_txns WHERE kind = 'deposit_refund' AND reference = $1"
    txn_id = cast(int, await tx.value(sql, back.reference))
    taken = await _sum_taken(tx, order, "t.id = $3", txn_id)
    missing = max(0, await _wanted(tx, back, order, txn_id) - taken)
    return _Taken(order.account_id, taken, missing, fresh=False)


async def _sum_taken(tx: Tx, order: Order, which: str, txn_id: int) -> int:
    """Return what was taken back for a locked order: a dispute may come after a refund of the same payment.

    Ids of transactions grow in the order in which takebacks of one order came: they wait for each other at its lock.
    """
    sql = (
        "SELECT CAST(COALESCE(SUM(e.amount_micro_usd), 0) AS BIGINT) FROM ledger_txns t"
        " JOIN ledger_entries e ON e.txn_id = t.id"
        f" WHERE t.kind = 'deposit_refund' AND e.account_id = $1 AND e.reference = $2 AND {which}"
    )
    return -cast(int, await tx.value(sql, order.account_id, _mark(order), txn_id))
