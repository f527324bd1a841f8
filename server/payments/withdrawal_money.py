"""The ledger's side of a withdrawal: what leaves the account, and what comes back.

Invariant: principal and fee each come back at most once, because each refund has a reference of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.billing.ledger import DUST, PLATFORM, STRIPE_OUT, Entry, post
from server.payments.fees import MICRO_USD_PER_CENT
from server.payments.withdrawal_rows import Withdrawal, mark_failed, mark_fee_refunded

if TYPE_CHECKING:
    from server.payments.fees import WithdrawalQuote
    from server.store.engine import Tx


async def debit(tx: Tx, withdrawal_id: str, account_id: str, quote: WithdrawalQuote, now: int) -> None:
    """Take the gross amount from the account's free earnings; raises InsufficientBalance."""
    entries = [
        Entry(account_id, "stripe_payout", -quote.gross_micro_usd, -quote.gross_micro_usd),
        Entry(STRIPE_OUT, "stripe_payout", quote.cents * MICRO_USD_PER_CENT),
        Entry(PLATFORM, "platform_fee", quote.fee_micro_usd),
        Entry(DUST, "dust", quote.dust_micro_usd),
    ]
    await post(tx, "withdraw", _reference(withdrawal_id), entries, now)


async def fail_and_refund(tx: Tx, row: Withdrawal, reason: str, now: int) -> bool:
    """Give principal and fee back and end the locked row; False when it is paid or was refunded before."""
    if not await mark_failed(tx, row.id, reason, now):
        return False
    moved = row.net_cents * MICRO_USD_PER_CENT
    entries = [
        Entry(row.account_id, "refund", row.net_micro_usd, row.net_micro_usd),
        Entry(STRIPE_OUT, "refund", -moved),
        Entry(DUST, "dust", moved - row.net_micro_usd),
    ]
    await post(tx, "withdraw_refund", _reference(row.id), entries, now)
    await _return_fee(tx, row, now)
    return True


async def refund_fee(tx: Tx, row: Withdrawal, reason: str, now: int) -> bool:
    """Give the fee of an instant payout back, and leave the locked row to the next sweep."""
    if not await mark_fee_refunded(tx, row.id, reason, now):
        return False
    await _return_fee(tx, row, now)
    return True


async def _return_fee(tx: Tx, row: Withdrawal, now: int) -> None:
    if row.fee_micro_usd > 0:
        entries = [
            Entry(row.account_id, "refund", row.fee_micro_usd, row.fee_micro_usd),
            Entry(PLATFORM, "platform_fee", -row.fee_micro_usd),
        ]
        await post(tx, "withdraw_fee_refund", f"stripe_withdraw_fee:{row.id}", entries, now)


def _reference(withdrawal_id: str) -> str:
    return f"stripe_withdraw:{withdrawal_id}"
