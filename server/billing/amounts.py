"""Amounts of money as whole micro-USD: reading what people type, writing what answers show. Pure, without floats.

Invariant: no binary float ever touches an amount.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Final

MICRO_PER_USD: Final = 1_000_000
MICRO_PER_CENT: Final = 10_000
MAX_MONEY: Final = 2**53 - 1
"""Largest amount, so that every JSON reader stays exact."""

_MAX_TEXT: Final = 64
_LARGEST_EXPONENT: Final = 6
"""Amounts of 10 million USD and more are refused as typing errors."""

_SMALLEST_EXPONENT: Final = -30
_EXACT: Final = Context(prec=2 * _MAX_TEXT)
"""Digits enough for any amount that is read, so that nothing is rounded before it is meant to be."""

_PRICE_DECIMALS: Final = 4


class AmountError(ValueError):
    """A text or number is not an amount; the message is for the caller of the API."""


def parse_usd(value: object) -> int:
    """Micro-USD of a JSON string or number (decoded as Decimal or int), rounded half up; raises AmountError.

    Negative, non-finite and absurdly large or fine amounts are refused, and so are floats: decode numbers exactly.
    """
    micro = _EXACT.multiply(_decimal(value), MICRO_PER_USD)
    return int(micro.to_integral_value(rounding=ROUND_HALF_UP))


def parse_cents(value: object) -> int:
    """Whole US cents of a JSON string or number, for everything that crosses Stripe; raises AmountError.

    More than two decimals are refused, never rounded.
    """
    cents = _EXACT.multiply(_decimal(value), 100)
    whole = cents.to_integral_value()
    if cents != whole:
        raise AmountError("amount_usd may have at most two decimals")
    return int(whole)


def usd6(micro: int) -> str:
    """Six decimals, as in balances and earnings: `1.500000`."""
    return _fixed(micro, 6)


def usd2(micro: int) -> str:
    """Two decimals, as in withdrawals and invites: `1.50`; fractions of a cent are rounded half up."""
    return _fixed(micro, 2)


def price_usd(price: int) -> str:
    """A price in micro-USD per million tokens as USD per million tokens: `$0.0300`."""
    return f"${_fixed(price, _PRICE_DECIMALS)}"


def _fixed(micro: int, decimals: int) -> str:
    """Millionths as a number with so many decimals, half away from zero."""
    sign = "-" if micro < 0 else ""
    unit = MICRO_PER_USD // 10**decimals
    shown = (abs(micro) + unit // 2) // unit
    whole, rest = divmod(shown, 10**decimals)
    return f"{sign}{whole}.{rest:0{decimals}d}"


def _decimal(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
        raise AmountError("The amount must be a decimal number of US dollars, such as 5.00.")
    text = str(value).strip()
    if not text or len(text) > _MAX_TEXT:
        raise AmountError("The amount must be a decimal number of US dollars, such as 5.00.")
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise AmountError("The amount must be a decimal number of US dollars, such as 5.00.") from None
    if not amount.is_finite() or "_" in text:
        raise AmountError("The amount must be a decimal number of US dollars, such as 5.00.")
    if amount < 0 or amount.is_signed():
        raise AmountError("The amount must not be negative; give a positive number of US dollars.")
    if amount and amount.adjusted() > _LARGEST_EXPONENT:
        raise AmountError("The amount is too large; give less than 10000000 US dollars.")
    exponent = amount.as_tuple().exponent
    if isinstance(exponent, int) and exponent < _SMALLEST_EXPONENT:
        raise AmountError("The amount has too many decimals; give at most six.")
    return amount
