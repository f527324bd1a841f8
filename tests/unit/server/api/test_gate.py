"""The small parts that account endpoints share."""

from __future__ import annotations

import pytest

from protocol.api.errors import ApiError
from server.api.gate import empty_answer, private_answer, text_member
from server.api.json_answer import timestamp
from server.api.keys import usd_number
from server.limits import Admission


def test_an_empty_answer_has_no_length_and_no_type() -> None:
    answer = empty_answer({"Set-Cookie": "a=b"})
    assert answer.status_code == 204
    assert dict(answer.headers) == {"Cache-Control": "private, no-store", "Set-Cookie": "a=b"}


def test_a_private_answer_carries_the_limits() -> None:
    answer = private_answer({"a": 1}, admission=Admission((("x-ratelimit-limit-requests", "12"),)))
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert answer.headers["x-ratelimit-limit-requests"] == "12"
    assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("value", [None, "", "  ", 5, ["x"], "x" * 11])
def test_a_text_member_is_a_text_of_limited_length(value: object) -> None:
    assert text_member({"m": "x" * 10}, "m", "bad_request", limit=10) == "x" * 10
    with pytest.raises(ApiError) as caught:
        text_member({"m": value}, "m", "bad_request", limit=10)
    assert (caught.value.status, caught.value.param) == (400, "m")


@pytest.mark.parametrize(
    ("micro_usd", "written"),
    [
        (0, b"0"),
        (1, b"0.000001"),
        (290_000, b"0.29"),
        (1_000_000, b"1"),
        (10_000_000, b"10"),
        (9_007_199_254_740_991, b"9007199254.740991"),
    ],
)
def test_amounts_are_written_digit_for_digit(micro_usd: int, written: bytes) -> None:
    number = usd_number(micro_usd)
    assert number is not None
    assert bytes(number) == written


def test_what_is_not_there_is_not_written() -> None:
    assert usd_number(None) is None
    assert timestamp(None) is None
    assert timestamp(1_780_000_000_999_999) == "2026-05-28T20:26:40Z"
