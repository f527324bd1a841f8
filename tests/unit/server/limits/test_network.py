"""Limits by client network: who shares a bucket, and each endpoint's own rate."""

from __future__ import annotations

from contextlib import suppress

import pytest

from server.limits import NetworkLimits, RateLimited, bucket_key
from server.limits.network import NetworkUse
from server.limits.table import BucketTable


@pytest.mark.parametrize(
    ("ip", "key"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("", "unreadable"),
        ("<local>", "unreadable"),
    ],
)
def test_bucket_key(ip: str, key: str) -> None:
    assert bucket_key(ip) == key


@pytest.mark.parametrize(
    ("use", "burst", "retry_after"),
    [("device_code", 5, 10), ("device_token", 10, 1), ("admin_auth", 3, 50), ("failed_bearer", 30, 1)],
)
def test_each_use_has_its_burst_and_rate(use: NetworkUse, burst: int, retry_after: int) -> None:
    limits = NetworkLimits(clock=lambda: 5.0)
    for _ in range(burst):
        limits.take(use, "203.0.113.7")
    with pytest.raises(RateLimited) as caught:
        limits.take(use, "203.0.113.7")
    assert caught.value.retry_after_seconds == retry_after
    limits.take(use, "203.0.113.8")


def test_all_of_a_slash_64_count_together() -> None:
    limits = NetworkLimits(clock=lambda: 5.0)
    for host in range(5):
        limits.take("device_code", f"2001:db8::{host}")
    with pytest.raises(RateLimited):
        limits.take("device_code", "2001:db8::ffff:1")
    limits.take("device_code", "2001:db8:0:1::1")


def test_used_up_asks_without_counting() -> None:
    limits = NetworkLimits(clock=lambda: 5.0)
    for _ in range(30):
        assert not limits.used_up("failed_bearer", "203.0.113.7")
        limits.take("failed_bearer", "203.0.113.7")
    assert limits.used_up("failed_bearer", "203.0.113.7")
    assert not limits.used_up("failed_bearer", "203.0.113.8")


def test_sixth_try_of_one_name_is_refused_with_minutes() -> None:
    now = [5.0]
    limits = NetworkLimits(clock=lambda: now[0])
    for _ in range(5):
        limits.take_sign_in("ada", "203.0.113.7")
    with pytest.raises(RateLimited, match=r"Too many attempts\. Try again in 2 minutes\.") as caught:
        limits.take_sign_in("ada", "203.0.113.9")
    assert caught.value.retry_after_seconds == 120
    limits.take_sign_in("eve", "203.0.113.9")
    now[0] += 120
    limits.take_sign_in("ada", "203.0.113.9")


def test_twenty_tries_of_one_network_are_the_most_whatever_the_names() -> None:
    limits = NetworkLimits(clock=lambda: 5.0)
    for number in range(20):
        limits.take_sign_in(f"name{number}", "203.0.113.7")
    with pytest.raises(RateLimited, match="1 minute"):
        limits.take_sign_in("another", "203.0.113.7")


def test_a_network_that_is_turned_away_cannot_push_out_the_count_of_a_name() -> None:
    limits = NetworkLimits(clock=lambda: 5.0)
    limits._named = BucketTable(max_buckets=50)
    for _ in range(5):
        limits.take_sign_in("ada", "203.0.113.7")
    for number in range(100):
        with suppress(RateLimited):
            limits.take_sign_in(f"name{number}", "198.51.100.1")
    with pytest.raises(RateLimited):
        limits.take_sign_in("ada", "203.0.113.8")


def test_a_try_that_succeeded_does_not_count() -> None:
    limits = NetworkLimits(clock=lambda: 5.0)
    for _ in range(100):
        limits.take_sign_in("ada", "203.0.113.7")
        limits.give_back_sign_in("ada", "203.0.113.7")


def test_a_refused_try_takes_nothing_from_the_network() -> None:
    limits = NetworkLimits(clock=lambda: 5.0)
    for _ in range(5):
        limits.take_sign_in("ada", "203.0.113.7")
    for _ in range(50):
        with pytest.raises(RateLimited):
            limits.take_sign_in("ada", "203.0.113.7")
    limits.take_sign_in("eve", "203.0.113.7")


def test_ten_user_codes_in_ten_minutes_are_the_most_for_an_account() -> None:
    limits = NetworkLimits(clock=lambda: 5.0)
    for _ in range(10):
        limits.take_user_code("a")
    with pytest.raises(RateLimited, match="1 minute"):
        limits.take_user_code("a")


def test_rejections_are_told() -> None:
    told: list[str] = []
    limits = NetworkLimits(clock=lambda: 5.0, on_rejected=told.append)
    for _ in range(3):
        limits.take("admin_auth", "203.0.113.7")
    with pytest.raises(RateLimited):
        limits.take("admin_auth", "203.0.113.7")
    assert told == ["admin_auth"]
