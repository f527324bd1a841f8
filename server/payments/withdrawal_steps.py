"""The steps of a withdrawal at Stripe, alike for the caller who waits and for the reconciler: transfer, then payout.

Invariant: money comes back only when Stripe refused the very first attempt; after any doubt a person decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, assert_never

from server.payments.sending import Outcome, Pause, Rejected, Sent, Unclear, send
from server.payments.stripe_api import TransferOrder
from server.payments.withdrawal_money import fail_and_refund, refund_fee
from server.payments.withdrawal_rows import (
    Withdrawal,
    ask_for_review,
    lock_withdrawal,
    mark_transferred,
    note_payout,
)

if TYPE_CHECKING:
    from server.payments.alerts import AlertKind, Alerts
    from server.payments.failures import StripeRejected
    from server.payments.payee_accounts import PayeeAccounts
    from server.payments.stripe_api import StripeApi
    from server.payments.stripe_objects import Payout, Transfer
    from server.store import Store, Tx

_MICROSECONDS: Final = 1_000_000


class WithdrawalSteps:
    """Performs them. `clock` gives microseconds, `pause` waits between attempts."""

    def __init__(
        self,
        *,
        store: Store,
        stripe: StripeApi,
        accounts: PayeeAccounts,
        alerts: Alerts,
        clock: Callable[[], int],
        pause: Pause,
    ) -> None:
        self._store = store
        self._stripe = stripe
        self._accounts = accounts
        self._alerts = alerts
        self._clock = clock
        self._pause = pause

    async def transfer(self, row: Withdrawal, *, doubt: bool) -> bool:
        """Move the money to the connected account; whether it is there. `doubt`: there may have been an attempt."""
        order = _order(row)
        outcome: Outcome[Transfer] = await send(
            lambda: self._stripe.create_transfer(order), doubt=doubt, pause=self._pause
        )
        match outcome:
            case Sent(transfer):
                now = self._clock()
                return await self._store.write(lambda tx: mark_transferred(tx, row.id, transfer.id, now))
            case Rejected(failure, after_doubt):
                if after_doubt:
                    self._alert(row, "transfer_rejected_after_doubt", code=failure.code, status=failure.status)
                else:
                    await self._refund(row, failure)
            case Unclear(why):
                self._alert(row, "transfer_outcome_unknown", why=why)
            case _:
                assert_never(outcome)
        return False

    async def instant_payout(self, row: Withdrawal, *, doubt: bool) -> None:
        """Send what was transferred on to the payee's card; failing that, the next sweep carries it."""
        order = _order(row)
        outcome: Outcome[Payout] = await send(
            lambda: self._stripe.create_instant_payout(order), doubt=doubt, pause=self._pause
        )
        match outcome:
            case Sent(payout):
                arrival = payout.arrival_date * _MICROSECONDS if payout.arrival_date is not None else None
                await self._store.write(lambda tx: note_payout(tx, row.id, payout.id, arrival_at=arrival))
            case Rejected(failure, after_doubt):
                if not after_doubt:
                    await self._return_fee(row, failure)
                elif await self._store.write(lambda tx: ask_for_review(tx, row.id, "transferred")):
                    self._alert(row, "payout_rejected_after_doubt", code=failure.code, status=failure.status)
            case Unclear():
                pass
            case _:
                assert_never(outcome)

    async def _refund(self, row: Withdrawal, failure: StripeRejected) -> None:
        now, reason = self._clock(), failure.code or "rejected"

        async def work(tx: Tx) -> None:
            locked = await lock_withdrawal(tx, row.id)
            if locked is not None:
                await fail_and_refund(tx, locked, reason, now)

        await self._store.write(work)
        if failure.is_gone:
            await self._accounts.unlink(row.account_id, row.stripe_account_id)
        elif failure.is_agreement:
            await self._accounts.restrict(row.stripe_account_id)

    async def _return_fee(self, row: Withdrawal, failure: StripeRejected) -> None:
        now, reason = self._clock(), failure.code or "rejected"

        async def work(tx: Tx) -> None:
            locked = await lock_withdrawal(tx, row.id)
            if locked is not None and not locked.payout_id:
                await refund_fee(tx, locked, f"payout_{reason}", now)

        await self._store.write(work)

    def _alert(self, row: Withdrawal, kind: AlertKind, **fields: str | int) -> None:
        self._alerts(kind, withdrawal_id=row.id, account_id=row.account_id, cents=row.net_cents, **fields)


def _order(row: Withdrawal) -> TransferOrder:
    return TransferOrder(withdrawal_id=row.id, stripe_account_id=row.stripe_account_id, cents=row.net_cents)
