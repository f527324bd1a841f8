"""Tiers by memory, and floors in integers: the table of the specification, and a month that pays exactly its tier."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.rewards.floors import FloorScale, draw_of, is_workhorse, monthly_tier

DAY = 86_400
WHOLE = 300_000


@pytest.mark.parametrize(
    ("memory", "tier"),
    [
        (8, 0),
        (23, 0),
        (24, 10_000_000),
        (31, 10_000_000),
        (32, 12_000_000),
        (48, 16_000_000),
        (64, 18_000_000),
        (96, 22_000_000),
        (128, 26_000_000),
        (192, 30_000_000),
        (511, 30_000_000),
        (512, 40_000_000),
        (1024, 40_000_000),
    ],
)
def test_the_largest_minimum_that_fits_counts(memory: int, tier: int) -> None:
    assert monthly_tier(memory) == tier


@pytest.mark.parametrize(
    ("memory", "days", "uptime_ms", "floor"),
    [
        (64, 30, WHOLE, 2_083),
        (64, 31, WHOLE, 2_016),
        (64, 28, WHOLE, 2_232),
        (24, 30, WHOLE, 1_157),
        (512, 30, WHOLE, 4_630),
        (64, 30, 285_000, 1_042),
        (64, 30, 270_000, 0),
        (64, 30, 267_000, 0),
        (64, 30, 400_000, 2_083),
    ],
)
def test_the_first_floor_of_a_month(memory: int, days: int, uptime_ms: int, floor: int) -> None:
    scale = FloorScale(days * DAY)
    assert scale.floor(0, scale.units(monthly_tier(memory), uptime_ms)) == floor


def month_of(scale: FloorScale, tier: int, uptimes: list[int]) -> list[int]:
    floors, units = [], 0
    for uptime in uptimes:
        more = scale.units(tier, uptime)
        floors.append(scale.floor(units, more))
        units += more
    return floors


@pytest.mark.parametrize("days", [28, 29, 30, 31])
@pytest.mark.parametrize("memory", [24, 32, 48, 64, 96, 128, 192, 512])
def test_a_month_of_full_uptime_pays_exactly_the_tier(memory: int, days: int) -> None:
    tier = monthly_tier(memory)
    floors = month_of(FloorScale(days * DAY), tier, [WHOLE] * (days * DAY // 300))
    assert sum(floors) == tier
    assert max(floors) - min(floors) <= 1


@given(
    uptimes=st.lists(st.integers(0, WHOLE), max_size=400),
    memory=st.sampled_from([24, 64, 512]),
    days=st.sampled_from([28, 30, 31]),
    least=st.sampled_from([0, 150_000, 270_000, 297_000]),
)
def test_no_fraction_is_lost_however_uptime_changes(uptimes: list[int], memory: int, days: int, least: int) -> None:
    scale, tier = FloorScale(days * DAY, least), monthly_tier(memory)
    floors = month_of(scale, tier, uptimes)
    exact = sum(scale.units(tier, uptime) for uptime in uptimes)
    assert abs(sum(floors) * scale.divisor - exact) * 2 <= scale.divisor
    assert all(floor >= 0 for floor in floors)


def test_work_reduces_the_draw_only_when_it_is_told_to() -> None:
    assert draw_of(2_083, 1_000_000, reduction_thousandths=0) == 2_083
    assert draw_of(2_083, 1_001, reduction_thousandths=500) == 1_583
    assert draw_of(2_083, 5_000, reduction_thousandths=1000) == 0


@pytest.mark.parametrize(("memory", "in_band"), [(47, False), (48, True), (64, True), (96, True), (97, False)])
def test_the_workhorse_band(memory: int, in_band: bool) -> None:
    assert is_workhorse(memory) is in_band
