"""What a body may set on a key, and the sentence for each mistake."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.api.errors import ApiError
from server.accounts.key_settings import parse_changes
from server.billing.key_spend import window_start

NOW = 1_780_000_000_000_000


def test_absent_members_are_not_changed() -> None:
    assert parse_changes({}, now=NOW) == {}
    assert parse_changes({"colour": "red"}, now=NOW) == {}


def test_every_setting_is_read() -> None:
    body = {
        "name": "  laptop ",
        "disabled": True,
        "limit_usd": Decimal("1.5"),
        "limit_reset": "weekly",
        "rpm_limit": 60,
        "itpm_limit": 1000,
        "otpm_limit": 2000,
        "allowed_models": ["m/a", " m/b ", "m/a"],
        "self_route_only": False,
        "expires_at": "2030-07-15T12:00:00.5Z",
    }
    assert parse_changes(body, now=NOW) == {
        "name": "laptop",
        "disabled": 1,
        "limit_micro_usd": 1_500_000,
        "limit_reset": "weekly",
        "rpm_limit": 60,
        "itpm_limit": 1000,
        "otpm_limit": 2000,
        "allowed_models": '["m/a", "m/b"]',
        "self_route_only": 0,
        "expires_at": 1_910_347_200_500_000,
    }


def test_null_clears() -> None:
    members = ("limit_usd", "rpm_limit", "itpm_limit", "otpm_limit", "expires_at")
    assert set(parse_changes(dict.fromkeys(members), now=NOW).values()) == {None}
    assert parse_changes({"allowed_models": None}, now=NOW) == {"allowed_models": "[]"}
    assert parse_changes({"limit_reset": None, "name": None}, now=NOW) == {"limit_reset": "none", "name": ""}


def test_zero_inherits() -> None:
    assert parse_changes({"rpm_limit": 0}, now=NOW) == {"rpm_limit": None}


@pytest.mark.parametrize(
    ("written", "micro_usd"),
    [("0.29", 290_000), (Decimal("0.0000005"), 1), ("1", 1_000_000), (5, 5_000_000), (Decimal("0.0000004"), 0)],
)
def test_amounts_are_exact_and_rounded_half_up(written: object, micro_usd: int) -> None:
    assert parse_changes({"limit_usd": written}, now=NOW) == {"limit_micro_usd": micro_usd}


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("limit_usd", -1),
        ("limit_usd", "-1"),
        ("limit_usd", "abc"),
        ("limit_usd", ""),
        ("limit_usd", "1e9"),
        ("limit_usd", "NaN"),
        ("limit_usd", True),
        ("limit_usd", []),
        ("limit_reset", "hourly"),
        ("limit_reset", 1),
        ("limit_reset", []),
        ("rpm_limit", -1),
        ("rpm_limit", Decimal("1.5")),
        ("rpm_limit", "60"),
        ("rpm_limit", True),
        ("rpm_limit", 10**13),
        ("itpm_limit", -5),
        ("otpm_limit", -5),
        ("name", "x" * 201),
        ("name", 5),
        ("name", "a\x00b"),
        ("name", "a\nb"),
        ("name", "\ud800"),
        ("disabled", None),
        ("disabled", 1),
        ("self_route_only", "yes"),
        ("allowed_models", "m"),
        ("allowed_models", [1]),
        ("allowed_models", [""]),
        ("allowed_models", ["m"] * 201),
        ("allowed_models", ["m" * 300]),
        ("expires_at", "tomorrow"),
        ("expires_at", 1_900_000_000),
        ("expires_at", "2030-13-01T00:00:00Z"),
        ("expires_at", "2020-01-01T00:00:00Z"),
    ],
)
def test_mistakes_are_400_and_name_the_member(member: str, value: object) -> None:
    with pytest.raises(ApiError) as caught:
        parse_changes({member: value}, now=NOW)
    error = caught.value
    assert (error.status, error.error_type, error.param) == (400, "bad_request", member)
    assert error.message.startswith(f"{member}: ")


@given(st.dictionaries(st.sampled_from(["name", "limit_usd", "rpm_limit", "allowed_models", "expires_at"]), st.text()))
def test_any_text_is_read_or_refused(body: dict[str, str]) -> None:
    try:
        changes = parse_changes(body, now=NOW)
    except ApiError:
        return
    assert set(changes) <= {"name", "limit_micro_usd", "expires_at"}
    assert "\x00" not in str(changes.get("name", ""))


@pytest.mark.parametrize(
    ("window", "start"),
    [
        ("daily", 1_784_073_600),
        ("weekly", 1_783_900_800),
        ("monthly", 1_782_864_000),
        ("none", 0),
    ],
)
def test_spend_windows_on_wednesday_the_fifteenth_of_july_2026(window: str, start: int) -> None:
    ten_o_clock = 1_784_109_600 * 1_000_000
    assert window_start(window, ten_o_clock) == start * 1_000_000  # type: ignore[arg-type]
