"""What a withdrawal costs and what arrives: integer micro-USD and cents.

Invariant: gross = fee + net and net = cents · 10,000 + dust; nothing is lost, the platform keeps fee and dust.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Method: TypeAlias = Literal["standard", "instant"]

MIN_WITHDRAW_MICRO_USD: Final = 1_000_000
INSTANT_FEE_BASIS_POINTS: Final = 150
INSTANT_FEE_MIN_MICRO_USD: Final = 500_000
MICRO_USD_PER_CENT: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawalQuote:
    """Amounts in micro-USD; `cents` is what Stripe moves, `dust_micro_usd` what is less than a cent."""

    method: Method
    gross_micro_usd: int
    fee_micro_usd: int
    net_micro_usd: int
    cents: int
    dust_micro_usd: int


def quote_withdrawal(gross_micro_usd: int, method: Method) -> WithdrawalQuote | None:
    """Return what a withdrawal of `gross_micro_usd` costs; None below the minimum."""
    if gross_micro_usd < MIN_WITHDRAW_MICRO_USD:
        return None
    fee = 0
    if method == "instant":
        fee = max(gross_micro_usd * INSTANT_FEE_BASIS_POINTS // 10_000, INSTANT_FEE_MIN_MICRO_USD)
    net = gross_micro_usd - fee
    cents, dust = divmod(net, MICRO_USD_PER_CENT)
    if cents < 1:
        return None
    return WithdrawalQuote(
        method=method,
        gross_micro_usd=gross_micro_usd,
        fee_micro_usd=fee,
        net_micro_usd=net,
        cents=cents,
        dust_micro_usd=dust,
    )
