"""Events of connected accounts: their state, their payouts, and transfers that came back.

Invariant: every change is a guarded update on the state it expects, and money moves only through unique ledger
transactions, so events may come in any order and any number of times.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from server.payments.stripe_objects import Account, Event, Payout, Transfer, read_json
from server.payments.sweeps import claim_by_sweep, reopen_sweep
from server.payments.withdrawal_money import fail_and_refund, refund_fee
from server.payments.withdrawal_rows import (
    Withdrawal,
    adopt_transfer,
    lock_by_payout,
    lock_by_transfer,
    lock_withdrawal,
    mark_paid,
    note_payout,
)

if TYPE_CHECKING:
    from server.payments.alerts import Alerts
    from server.payments.payee_accounts import PayeeAccounts
    from server.payments.stripe_api import StripeApi
    from server.store import Store, Tx

CONNECT_EVENTS: Final = frozenset(
    {"account.updated", "payout.paid", "payout.failed", "payout.canceled", "transfer.reversed"}
)
RECIPIENT_DELAY_US: Final = 24 * 3_600_000_000
"""Money for recipient accounts becomes available a day after its transfer."""

_MICROSECONDS: Final = 1_000_000
_BOUNCED: Final = frozenset({"failed", "canceled"})
_REFUNDED: Final = "row is refunded"
_PARTIAL: Final = "partial reversal"
_PAID: Final = "row is paid"


class ConnectEvents:
    """Handles them. `clock` gives microseconds."""

    def __init__(
        self, *, store: Store, stripe: StripeApi, accounts: PayeeAccounts, alerts: Alerts, clock: Callable[[], int]
    ) -> None:
        self._store = store
        self._stripe = stripe
        self._accounts = accounts
        self._alerts = alerts
        self._clock = clock

    async def handle(self, event: Event) -> str:
        """Handle one event and say what became of it; raises what makes Stripe deliver it again."""
        account = event.account or ""
        match event.type:
            case "account.updated":
                changed = read_json(event.data.object, Account)
                # Read live: events overtake each other, and the newest state is the one to keep.
                return "mirrored" if await self._accounts.mirror_linked(changed.id) else "not linked"
            case "payout.paid" if account:
                return await self._payout_paid(account, read_json(event.data.object, Payout))
            case "payout.failed" | "payout.canceled" if account:
                return await self._payout_bounced(account, read_json(event.data.object, Payout))
            case "transfer.reversed":
                return await self._reversed(read_json(event.data.object, Transfer))
            case _:
                return "ignored"

    async def _payout_paid(self, account: str, payout: Payout) -> str:
        now = self._clock()

        async def work(tx: Tx) -> tuple[str, str] | None:
            row = await self._row_of_payout(tx, account, payout, adopt=True)
            if row is None:
                return None
            if row.refunded:
                return _REFUNDED, row.id
            return ("paid" if await mark_paid(tx, row.id, now) else "paid before"), row.id

        found = await self._store.write(work)
        if found is None:
            return await self._swept(account, payout) if payout.automatic else "ignored"
        outcome, withdrawal_id = found
        if outcome == _REFUNDED:
            self._alerts("payout_of_refunded_row", withdrawal_id=withdrawal_id, payout_id=payout.id)
        return outcome

    async def _payout_bounced(self, account: str, payout: Payout) -> str:
        now, reason = self._clock(), f"payout_{payout.failure_code or 'failed'}"[:100]

        async def work(tx: Tx) -> str | None:
            row = await self._row_of_payout(tx, account, payout, adopt=False)
            if row is None:
                return None
            return "fee refunded" if await refund_fee(tx, row, reason, now) else "nothing to do"

        outcome = await self._store.write(work)
        if outcome is not None:
            return outcome
        return await self._reopen(account, payout.id, reason) if payout.automatic else "ignored"

    async def _swept(self, account: str, payout: Payout) -> str:
        """Settle what a sweep carried, if it is still paid: the event may be old."""
        live = await self._stripe.payout(account, payout.id)
        if live.status != "paid":
            return await self._reopen(account, payout.id, f"payout_{live.status}"[:100])
        delay = RECIPIENT_DELAY_US if await self._accounts.is_recipient(account) else 0
        now = self._clock()
        claimed = await self._store.write(
            lambda tx: claim_by_sweep(
                tx,
                stripe_account_id=account,
                payout_id=payout.id,
                payout_created=live.created * _MICROSECONDS,
                delay_us=delay,
                now=now,
            )
        )
        # The bank may have sent it back, and that event may have been handled, between the reading and the marking.
        again = await self._stripe.payout(account, payout.id)
        if again.status in _BOUNCED:
            return await self._reopen(account, payout.id, f"payout_{again.status}")
        return f"sweep paid {claimed}"

    async def _reopen(self, account: str, payout_id: str, reason: str) -> str:
        now = self._clock()
        opened = await self._store.write(
            lambda tx: reopen_sweep(tx, stripe_account_id=account, payout_id=payout_id, reason=reason, now=now)
        )
        return f"reopened {opened}"

    async def _reversed(self, transfer: Transfer) -> str:
        now = self._clock()

        async def work(tx: Tx) -> tuple[str, str]:
            row = await lock_by_transfer(tx, transfer.id) or await self._row_in_doubt(tx, transfer)
            if row is None:
                return "ignored", ""
            if row.refunded:
                return "refunded before", row.id
            if not transfer.reversed:
                return _PARTIAL, row.id
            if row.status == "paid":
                return _PAID, row.id
            await adopt_transfer(tx, row.id, transfer.id)
            return ("refunded" if await fail_and_refund(tx, row, "transfer_reversed", now) else "nothing to do"), row.id

        outcome, withdrawal_id = await self._store.write(work)
        if outcome == _PARTIAL:
            self._alerts("reversal_partial", withdrawal_id=withdrawal_id, transfer_id=transfer.id)
        elif outcome == _PAID:
            self._alerts("reversal_of_paid_row", withdrawal_id=withdrawal_id, transfer_id=transfer.id)
        return outcome

    async def _row_of_payout(self, tx: Tx, account: str, payout: Payout, *, adopt: bool) -> Withdrawal | None:
        """Lock the row of an instant payout: by its id, else by our metadata if the row did not learn the id yet."""
        row = await lock_by_payout(tx, payout.id)
        if row is not None or payout.automatic:
            return row if row is not None and row.stripe_account_id == account else None
        row = await self._row_named(tx, account, payout.metadata)
        if row is None or row.payout_id or row.fee_refunded or row.refunded or row.method != "instant":
            return None
        if adopt and not await note_payout(tx, row.id, payout.id, arrival_at=None):
            return None
        return row

    async def _row_in_doubt(self, tx: Tx, transfer: Transfer) -> Withdrawal | None:
        """Lock the pending row of a transfer whose id it did not learn."""
        row = await self._row_named(tx, transfer.destination or "", transfer.metadata)
        return row if row is not None and row.status == "pending" and not row.transfer_id else None

    async def _row_named(self, tx: Tx, account: str, metadata: dict[str, str] | None) -> Withdrawal | None:
        row = await lock_withdrawal(tx, (metadata or {}).get("withdrawal_id", ""))
        return row if row is not None and row.stripe_account_id == account else None
