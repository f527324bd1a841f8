"""Reservations, faults, watchdog, averages and the credit window."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.engine.average import Average
from provider.engine.faults import FaultLog, is_allocator_fault
from provider.engine.limits import EngineLimits
from provider.engine.reservation import growth_tokens, lane_of, rectangle_tokens, round_to_step
from provider.engine.watchdog import Health, judge
from provider.engine.window import Window


def test_round_to_step():
    assert [round_to_step(n) for n in (0, 1, 256, 257, 1000)] == [0, 256, 256, 512, 1024]


def test_short_rows_beside_a_long_one_are_charged_as_long_ones():
    assert rectangle_tokens([1000]) == 1024
    assert growth_tokens([1000], 10) == 1024
    assert growth_tokens([10, 10, 10], 1000) == 4 * 1024 - 3 * 256


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=10))
def test_growths_add_up_to_the_rectangle(rows):
    total, seen = 0, []
    for row in rows:
        total += growth_tokens(seen, row)
        seen.append(row)
    assert total == rectangle_tokens(rows)


def test_lane_of_length_classes():
    assert [lane_of(n) for n in (1, 4096, 4097, 32768, 32769)] == [0, 0, 1, 1, 2]


def test_third_fault_in_ten_minutes_crashes():
    log = FaultLog(window_seconds=600, limit=3)
    assert not log.add(0, allocator=False)
    assert not log.add(300, allocator=False)
    assert not log.add(601, allocator=False)
    assert log.add(602, allocator=False)


def test_allocator_fault_halves_rows_for_ten_minutes():
    log = FaultLog(window_seconds=600, limit=3)
    log.add(0, allocator=True)
    assert log.cap(8, 599) == 4
    assert log.cap(1, 599) == 1
    assert log.cap(8, 600) == 8


def test_allocator_faults_are_told_by_their_text():
    assert is_allocator_fault(RuntimeError("[metal::malloc] Resource limit (499000) exceeded."))
    assert not is_allocator_fault(ValueError("shapes do not match"))


@pytest.mark.parametrize(
    ("seconds", "health"),
    [(29, Health.GOOD), (30, Health.WEDGE_SUSPECTED), (60, Health.CRASHED), (120, Health.FATAL)],
)
def test_watchdog_judges_the_running_step(seconds, health):
    assert judge(100.0, 100.0 + seconds, EngineLimits()) is health


def test_watchdog_is_content_while_the_thread_waits():
    assert judge(None, 1e9, EngineLimits()) is Health.GOOD


def test_average_starts_with_the_first_sample():
    average = Average()
    assert average.value is None
    average.add(10)
    assert average.value == 10
    average.add(20)
    assert average.value == pytest.approx(13)


def test_window_is_full_at_its_size_and_free_at_half():
    window = Window(4)
    window.posted = 4
    assert window.is_full
    window.consumed = 1
    assert not window.is_full
    assert not window.may_resume
    window.consumed = 2
    assert window.may_resume


@pytest.mark.parametrize("rows", [0, 25])
def test_limits_name_the_bad_number(rows):
    with pytest.raises(ValueError, match=f"max_concurrent is {rows}; choose a number from 1 to 24"):
        EngineLimits(max_concurrent=rows)
