"""The exact answers when money stands in the way."""

from __future__ import annotations

import pytest

from protocol.api.errors import openai_envelope
from server.billing.refusals import (
    insufficient_funds,
    provider_price_too_high,
    spend_cap_reached,
    store_unavailable,
)
from server.store.errors import CapExceeded


@pytest.mark.parametrize(
    ("window", "name"), [("none", "lifetime"), ("daily", "daily"), ("weekly", "weekly"), ("monthly", "monthly")]
)
def test_spend_cap(window: str, name: str) -> None:
    error = spend_cap_reached(CapExceeded(window, 5_000_000, 4_990_000), 20_001)
    assert error.status == 402
    assert openai_envelope(error)["error"] == {
        "message": f"API key spend limit reached ({name} cap $5.00, used $4.99); this request reserves $0.020001."
        " Raise the limit of the key, or use another key.",
        "type": "insufficient_quota",
        "code": "insufficient_quota",
    }


def test_balance_too_low() -> None:
    error = insufficient_funds(1838)
    assert (error.status, error.error_type, error.code) == (402, "insufficient_funds", "insufficient_quota")
    assert "$0.001838" in error.message


def test_no_provider_is_affordable() -> None:
    error = provider_price_too_high()
    assert (error.status, error.error_type, error.code) == (402, "provider_error", "provider_error")


def test_database_away() -> None:
    error = store_unavailable()
    assert (error.status, error.error_type) == (503, "service_unavailable")
    assert error.headers() == [("Retry-After", "5")]
