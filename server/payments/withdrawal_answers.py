"""What a caller learns of a withdrawal: a function of its row, so that a repeated request gets the same answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from server.payments import refusals
from server.payments.failures import AGREEMENT_CODES, GONE_CODES

if TYPE_CHECKING:
    from protocol.api.errors import ApiError
    from server.payments.withdrawal_rows import Withdrawal

INSTANT_ETA: Final = "~30 minutes"
STANDARD_ETA: Final = "1-2 business days"


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawalAnswer:
    """A withdrawal whose transfer went through. `status` 202: the instant payout did not; a sweep carries the money."""

    row: Withdrawal
    status: int
    eta: str
    message: str
    balance_micro_usd: int


def answer_for(row: Withdrawal, balance_micro_usd: int) -> WithdrawalAnswer:
    """Return the answer for a row as it is now; raises ApiError for one that failed or is in doubt."""
    if row.status == "failed":
        raise _failed(row)
    if row.status == "pending":
        raise refusals.outcome_unconfirmed()
    status, eta, message = 200, STANDARD_ETA, "The money is on its way to your bank."
    if row.method == "instant" and row.payout_id:
        eta, message = INSTANT_ETA, "The money is on its way to your card."
    elif row.method == "instant" and row.fee_refunded:
        status, message = 202, "The instant payout did not go through; its fee is back and your bank gets the money."
    elif row.method == "instant" and row.status == "transferred":
        status, message = 202, "The instant payout is unconfirmed; the money arrives at the latest with the next sweep."
    return WithdrawalAnswer(row=row, status=status, eta=eta, message=message, balance_micro_usd=balance_micro_usd)


def _failed(row: Withdrawal) -> ApiError:
    if row.failure_reason in GONE_CODES:
        return refusals.account_gone()
    if row.failure_reason in AGREEMENT_CODES:
        return refusals.recreate_required()
    return refusals.transfer_rejected()
