"""Payouts that wait for a person: first withdrawals under review, and withdrawals whose outcome Stripe never told.

Invariant: a withdrawal in doubt is ended by what the operator saw at Stripe, never by a guess of ours; its money comes
back at most once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from server.administration import accounts
from server.administration.operator import Deed, Operator
from server.payments.first_withdrawals import PayoutReview, clear_review, open_reviews, read_review
from server.payments.review_rows import rows_for_review
from server.payments.withdrawal_money import fail_and_refund
from server.payments.withdrawal_rows import Withdrawal, lock_withdrawal, mark_paid, mark_transferred, read_withdrawal
from server.store import Conflict, Invalid, NotFound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeAlias

    from server.store import Tx

    _Change: TypeAlias = Callable[[Tx, Withdrawal, int], Awaitable[bool]]

MAX_LISTED: Final = 500
_REASON: Final = "operator"


async def waiting(tx: Tx, limit: int) -> tuple[list[PayoutReview], list[Withdrawal]]:
    """List the open reviews and the withdrawals in doubt, the oldest first, at most `limit` of each."""
    most = min(max(limit, 1), MAX_LISTED)
    return await open_reviews(tx, most), await rows_for_review(tx, most)


class PayoutActs:
    """What operators decide; raises NotFound, Conflict, Invalid, StoreUnavailable."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator

    async def release(self, actor: str, who: str) -> PayoutReview:
        """Let an account make its first withdrawal."""

        async def work(tx: Tx, now: int) -> Deed[PayoutReview]:
            account_id = await accounts.resolve(tx, who)
            if not await clear_review(tx, account_id, actor, now):
                raise NotFound(f"The account {account_id} has no open review.")
            review = await read_review(tx, account_id)
            assert review is not None
            return Deed(review, account_id, {"payouts": "under review"}, {"payouts": "released"})

        return await self._operator.act(actor, "payout.release", work)

    async def sent(self, actor: str, withdrawal_id: str, transfer_id: str) -> Withdrawal:
        """Note that Stripe shows the transfer of a pending withdrawal; the reconciler goes on from there."""
        if not transfer_id.startswith("tr_") or not transfer_id.isascii() or len(transfer_id) > 255:
            raise Invalid("The transfer must be an id of Stripe such as tr_1AbC.")

        async def change(tx: Tx, row: Withdrawal, now: int) -> bool:
            return await mark_transferred(tx, row.id, transfer_id, now)

        return await self._decide(actor, "payout.sent", withdrawal_id, "pending", change)

    async def not_sent(self, actor: str, withdrawal_id: str) -> Withdrawal:
        """Give the money of a pending withdrawal back, because Stripe shows no transfer for it."""

        async def change(tx: Tx, row: Withdrawal, now: int) -> bool:
            return await fail_and_refund(tx, row, _REASON, now)

        return await self._decide(actor, "payout.not_sent", withdrawal_id, "pending", change)

    async def paid(self, actor: str, withdrawal_id: str) -> Withdrawal:
        """Note that Stripe shows a transferred withdrawal as paid to the bank or card."""

        async def change(tx: Tx, row: Withdrawal, now: int) -> bool:
            return await mark_paid(tx, row.id, now)

        return await self._decide(actor, "payout.paid", withdrawal_id, "transferred", change)

    async def _decide(self, actor: str, action: str, withdrawal_id: str, status: str, change: _Change) -> Withdrawal:
        async def work(tx: Tx, now: int) -> Deed[Withdrawal]:
            row = await lock_withdrawal(tx, withdrawal_id)
            if row is None:
                raise NotFound("There is no withdrawal with this id.")
            if row.status != status or not row.needs_review or not await change(tx, row, now):
                raise Conflict(
                    f"The withdrawal is {row.status} and {'waits' if row.needs_review else 'does not wait'} for a"
                    f" review; this decides one that is {status} and waits."
                )
            after = await read_withdrawal(tx, withdrawal_id)
            assert after is not None
            return Deed(after, withdrawal_id, {"status": row.status}, {"status": after.status})

        return await self._operator.act(actor, action, work)
