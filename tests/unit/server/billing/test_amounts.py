"""Amounts: what people type, and what answers show."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.billing.amounts import AmountError, parse_cents, parse_usd, price_usd, usd2, usd6


@pytest.mark.parametrize(
    ("text", "cents", "micro"),
    [
        ("0.29", 29, 290_000),
        ("1.15", 115, 1_150_000),
        ("19.99", 1999, 19_990_000),
        ("5", 500, 5_000_000),
        ("5.000", 500, 5_000_000),
        (" 5.00 ", 500, 5_000_000),
        (5, 500, 5_000_000),
        (Decimal("0.5"), 50, 500_000),
        ("1e2", 10_000, 100_000_000),
        ("0", 0, 0),
    ],
)
def test_amounts_are_read_exactly(text: object, cents: int, micro: int) -> None:
    assert parse_cents(text) == cents
    assert parse_usd(text) == micro


@pytest.mark.parametrize(
    "text",
    [
        "-1",
        "abc",
        "",
        " ",
        "1e9",
        "NaN",
        "Infinity",
        "-0",
        "1_000",
        "1,5",
        "0x10",
        "1e-40",
        "9" * 65,
        True,
        None,
        0.5,
        [],
        {},
    ],
)
def test_what_is_no_amount_is_refused(text: object) -> None:
    with pytest.raises(AmountError):
        parse_usd(text)
    with pytest.raises(AmountError):
        parse_cents(text)


def test_a_third_decimal_is_refused_where_cents_count() -> None:
    with pytest.raises(AmountError, match="amount_usd may have at most two decimals"):
        parse_cents("1.005")
    assert parse_usd("1.005") == 1_005_000


@pytest.mark.parametrize(("text", "micro"), [("0.0000005", 1), ("0.00000049", 0), ("0.0000015", 2), ("0.0000025", 3)])
def test_limits_are_rounded_half_up(text: str, micro: int) -> None:
    assert parse_usd(text) == micro


def test_shown_amounts() -> None:
    assert usd6(1_500_000) == "1.500000"
    assert usd6(-1) == "-0.000001"
    assert usd2(1_500_000) == "1.50"
    assert usd2(2**53 - 1) == "9007199254.74"
    assert price_usd(30_000) == "$0.0300"
    assert price_usd(165_000) == "$0.1650"
    assert price_usd(50_000) == "$0.0500"


def test_no_digit_is_dropped_before_an_amount_is_rounded() -> None:
    dust = "0" * 29 + "1"
    with pytest.raises(AmountError, match="at most two decimals"):
        parse_cents(f"1.{dust}")
    assert parse_usd("9999999.00000049999999999999999999") == 9_999_999_000_000
    assert parse_usd("9999999.00000050000000000000000000") == 9_999_999_000_001


@given(st.integers(0, 9_999_999 * 10**6))
def test_six_decimals_come_back(micro: int) -> None:
    assert parse_usd(usd6(micro)) == micro


@given(st.integers(0, 999_999_999))
def test_two_decimals_come_back(cents: int) -> None:
    assert parse_cents(usd2(cents * 10_000)) == cents
