"""Retry-After (acceptance 7-a to 7-e)."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.registry.retry_after import base_seconds, measured_seconds, retry_after_ms, ttft_seconds


@pytest.mark.parametrize(
    ("depth", "latency", "seconds"),
    [
        *[(depth, 0, seconds) for depth, seconds in ((0, 2), (1, 3), (3, 9), (10, 30), (11, 30), (32, 30))],
        *[(0, ms, s) for ms, s in ((999, 2), (1_000, 2), (1_000.1, 10), (4_600, 25), (11_999, 60), (60_000, 60))],
        (9, 4_600, 27),
        (10, 6_001, 35),
    ],
)
def test_base(depth: int, latency: float, seconds: int) -> None:
    assert base_seconds(depth, latency) == seconds


@pytest.mark.parametrize(("best", "base", "seconds"), [(7.2, 2, 2), (50, 2, 30), (7.2, 9, 9)])
def test_ttft(best: float, base: int, seconds: int) -> None:
    assert ttft_seconds(best, 6.0, base) == seconds


@pytest.mark.parametrize(("depth", "rate", "seconds"), [(12, 2, 7), (0, 2, 1), (31, 0.2, 60)])
def test_measured(depth: int, rate: float, seconds: int) -> None:
    assert measured_seconds(depth, rate) == seconds


@given(
    depth=st.integers(0, 5_000),
    rate=st.none() | st.floats(0.001, 1_000),
    latency=st.floats(0, 10**6),
    random=st.randoms(use_true_random=False),
)
def test_answer_stays_within_two_and_sixty_seconds(
    depth: int, rate: float | None, latency: float, random: Random
) -> None:
    answer = retry_after_ms(depth, releases_per_second=rate, route_latency_ms=latency, random=random)
    assert 2_000 <= answer <= 60_000


def test_measured_answers_are_spread() -> None:
    random = Random(5)
    answers = {retry_after_ms(19, releases_per_second=1.0, route_latency_ms=0, random=random) for _ in range(20)}
    assert len(answers) > 10
    assert all(16_000 <= answer <= 24_000 for answer in answers)


def test_slow_routing_lengthens_a_measured_answer() -> None:
    assert retry_after_ms(0, releases_per_second=5.0, route_latency_ms=4_600, random=Random(1)) == 25_000
