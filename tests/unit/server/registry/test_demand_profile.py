"""What each hour of the week needs: learnt over weeks, believed only where enough was seen."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.registry.demand_profile import FADE, HOUR_SECONDS, PROFILES_MAX, TRUSTED, DemandProfile, DemandProfiles

HOUR = HOUR_SECONDS
WEEK = 168 * HOUR
NINE = 1_000 * WEEK + 33 * HOUR
"""Nine o'clock of some Friday."""


def watch(profiles: DemandProfiles, start: float, machines: int, *, share: float = 1.0, model: str = "m") -> None:
    """A share of an hour in which a model needs so many machines, looked at every minute."""
    for minute in range(round(60 * share)):
        profiles.note(model, machines, start + 60 * minute, 60.0)


def test_an_hour_is_foreseen_a_week_later_and_no_other_is() -> None:
    profiles = DemandProfiles()
    watch(profiles, NINE, 3)
    assert profiles.foreseen("m", NINE + WEEK) == 3
    assert profiles.foreseen("m", NINE + WEEK + HOUR - 1) == 3
    assert profiles.foreseen("m", NINE + WEEK - 1) == 0
    assert profiles.foreseen("m", NINE + WEEK + HOUR) == 0
    assert profiles.foreseen("m", NINE + WEEK + 24 * HOUR) == 0
    assert profiles.foreseen("other", NINE + WEEK) == 0


def test_nothing_is_foreseen_before_the_first_week_is_over() -> None:
    profiles = DemandProfiles()
    watch(profiles, NINE, 3)
    watch(profiles, NINE + HOUR, 3)
    assert profiles.foreseen("m", NINE + 1) == 0
    assert profiles.foreseen("m", NINE + WEEK - HOUR) == 0


@pytest.mark.parametrize(("share", "foreseen"), [(0.75, 0), (0.8, 3)])
def test_an_hour_that_was_hardly_watched_is_not_believed(share: float, foreseen: int) -> None:
    profiles = DemandProfiles()
    watch(profiles, NINE, 3, share=share)
    assert profiles.foreseen("m", NINE + WEEK) == foreseen


def test_a_record_of_three_weeks_outlasts_a_missed_one_and_a_single_week_does_not() -> None:
    short, long = DemandProfiles(), DemandProfiles()
    watch(short, NINE, 2)
    for week in range(3):
        watch(long, NINE + week * WEEK, 2)
    assert short.foreseen("m", NINE + 2 * WEEK) == 0
    assert long.foreseen("m", NINE + 4 * WEEK) == 2
    assert long.foreseen("m", NINE + 6 * WEEK) == 0


def test_each_week_counts_twice_as_much_as_the_one_before() -> None:
    profiles = DemandProfiles()
    watch(profiles, NINE, 6)
    watch(profiles, NINE + WEEK, 0)
    assert profiles.foreseen("m", NINE + 2 * WEEK) == 2
    watch(profiles, NINE + 2 * WEEK, 0)
    watch(profiles, NINE + 3 * WEEK, 0)
    watch(profiles, NINE + 4 * WEEK, 0)
    watch(profiles, NINE + 5 * WEEK, 0)
    watch(profiles, NINE + 6 * WEEK, 0)
    assert profiles.foreseen("m", NINE + 7 * WEEK) == 0


def test_a_machine_that_is_seldom_needed_is_not_foreseen() -> None:
    profiles = DemandProfiles()
    watch(profiles, NINE, 1, share=2 / 60)
    watch(profiles, NINE + 120, 0, share=58 / 60)
    assert profiles.foreseen("m", NINE + WEEK) == 0
    watch(profiles, NINE + HOUR, 2)
    watch(profiles, NINE + 2 * HOUR, 2, share=0.5)
    watch(profiles, NINE + 2.5 * HOUR, 1, share=0.5)
    assert [profiles.foreseen("m", NINE + WEEK + hour * HOUR) for hour in (1, 2)] == [2, 2]


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3)), min_size=1, max_size=30))
def test_the_mean_stays_within_what_was_seen_and_the_weight_within_its_limit(seen: list[tuple[int, int]]) -> None:
    profiles = DemandProfiles()
    week = 0
    for machines, skipped in seen:
        week += 1 + skipped
        watch(profiles, NINE + week * WEEK, machines, share=0.2)
    if not len(profiles):
        assert all(machines == 0 for machines, _ in seen)
        return
    (profile,) = profiles.take_changed(10)
    hour = profile.hours[33]
    counted = [machines for machines, _ in seen]
    assert 0.0 <= hour.mean <= max(counted) + 1e-9
    assert 0.0 < hour.weight <= 0.2 / (1 - FADE) + 1e-9
    assert profiles.foreseen("m", NINE + (week + 1) * WEEK) == 0  # a fifth of an hour is never enough
    assert hour.faded(week + 1_000) < TRUSTED


def test_what_is_idle_begins_no_profile_and_the_one_idle_longest_leaves_first() -> None:
    profiles = DemandProfiles()
    profiles.note("idle", 0, NINE, 60.0)
    assert profiles.models() == ()
    for number in range(PROFILES_MAX):
        profiles.note(f"m{number}", 1, NINE, 60.0)
    profiles.note("m0", 1, NINE, 60.0)
    profiles.note("m1", 0, NINE, 60.0)
    profiles.note("new", 1, NINE, 60.0)
    assert len(profiles) == PROFILES_MAX
    assert "m0" in profiles.models()
    assert "m1" not in profiles.models()
    assert all(profile.model != "m1" for profile in profiles.take_changed(1_000))


def test_a_profile_changes_once_an_hour() -> None:
    profiles = DemandProfiles()
    watch(profiles, NINE, 2)
    assert [profile.model for profile in profiles.take_changed(10)] == ["m"]
    watch(profiles, NINE, 2, share=0.5)
    assert profiles.take_changed(10) == []
    profiles.note("m", 0, NINE + HOUR, 60.0)
    changed = profiles.take_changed(10)
    profiles.put_back(changed)
    assert profiles.take_changed(10) == changed


def test_stored_profiles_are_taken_where_nothing_is_known() -> None:
    before, after = DemandProfiles(), DemandProfiles()
    watch(before, NINE, 3)
    watch(before, NINE, 1, model="other")
    watch(after, NINE + WEEK, 2)
    stored = msgspec.json.encode(before.take_changed(10))
    after.restore(msgspec.json.decode(stored, type=list[DemandProfile]))
    assert after.foreseen("other", NINE + WEEK) == 1
    assert after.foreseen("m", NINE + WEEK + HOUR) == 0
    assert after.models()[-1] == "m"


def test_a_first_week_that_began_while_the_clock_was_ahead_begins_now() -> None:
    profiles = DemandProfiles()
    watch(profiles, NINE + 52 * WEEK, 3)
    restored = DemandProfiles()
    restored.restore(msgspec.json.decode(msgspec.json.encode(profiles.take_changed(10)), type=list[DemandProfile]))
    for each in (profiles, restored):
        watch(each, NINE, 2)
        assert each.foreseen("m", NINE + WEEK) == 2


def test_what_was_seen_while_the_clock_was_ahead_counts_for_nothing() -> None:
    profiles = DemandProfiles()
    watch(profiles, NINE, 2)
    watch(profiles, NINE + 52 * WEEK, 9)
    watch(profiles, NINE + 52 * WEEK + HOUR, 9)
    assert profiles.foreseen("m", NINE + WEEK) == 0
    assert profiles.foreseen("m", NINE + WEEK + HOUR) == 0
    watch(profiles, NINE + WEEK, 2)
    assert profiles.foreseen("m", NINE + 2 * WEEK) == 2
