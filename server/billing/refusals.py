"""The answers of the public API when money stands in the way of a request."""

from __future__ import annotations

from typing import Final

from protocol.api.errors import ApiError
from server.billing.amounts import MICRO_PER_CENT, usd2, usd6
from server.billing.key_spend import WINDOW_NAMES
from server.store.errors import CapExceeded

STORE_RETRY_SECONDS: Final = 5.0


def spend_cap_reached(error: CapExceeded, reservation: int) -> ApiError:
    """402: the API key's spend cap would be passed."""
    window = WINDOW_NAMES.get(error.window, error.window)
    return ApiError(
        402,
        "insufficient_quota",
        f"API key spend limit reached ({window} cap ${_usd(error.cap)}, used ${_usd(error.used)});"
        f" this request reserves ${_usd(reservation)}. Raise the limit of the key, or use another key.",
        code="insufficient_quota",
    )


def insufficient_funds(reservation: int) -> ApiError:
    """402: the account's free balance does not carry the reservation."""
    return ApiError(
        402,
        "insufficient_funds",
        f"The balance of the account does not cover this request, which reserves ${_usd(reservation)}."
        " Add credits, or lower max_tokens.",
        code="insufficient_quota",
    )


def provider_price_too_high() -> ApiError:
    """402: every provider that could serve asks for more than the balance or the key's cap carries."""
    return ApiError(
        402,
        "provider_error",
        "The balance does not cover the prices of the providers that serve this model now. Add credits, or try later.",
    )


def store_unavailable() -> ApiError:
    """503: the database does not answer; nothing was charged."""
    return ApiError(
        503,
        "service_unavailable",
        "Accounts cannot be checked at the moment; nothing was charged. Try again shortly.",
        retry_after_seconds=STORE_RETRY_SECONDS,
    )


def _usd(micro: int) -> str:
    """Cents where that is exact, else all six decimals."""
    return usd2(micro) if micro % MICRO_PER_CENT == 0 else usd6(micro)
