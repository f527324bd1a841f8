"""One assignment for all loads of a round: against every possible one, in small cases."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from server.pool.assignment import assign

if TYPE_CHECKING:
    from collections.abc import Sequence

Loads = list[dict[str, int]]

LOADS = st.lists(st.dictionaries(st.sampled_from("abcde"), st.integers(-3, 9), max_size=5), min_size=0, max_size=5)


def worth(loads: Loads, chosen: Sequence[str | None]) -> tuple[tuple[bool, ...], int]:
    """Which loads are served, and how well: earlier ones first, then the sum of points."""
    total = sum(load[machine] for load, machine in zip(loads, chosen, strict=True) if machine is not None)
    return tuple(machine is not None for machine in chosen), total


def best_of_all(loads: Loads, limit: int) -> tuple[tuple[bool, ...], int]:
    """Try every assignment."""
    found = []
    for chosen in product(*([None, *load] for load in loads)):
        taken = [machine for machine in chosen if machine is not None]
        if len(taken) == len(set(taken)) <= limit:
            found.append(worth(loads, chosen))
    return max(found)


@given(LOADS, st.integers(0, 5))
def test_no_other_assignment_serves_earlier_loads_or_serves_them_better(loads: Loads, limit: int) -> None:
    chosen = assign(loads, limit)
    taken = [machine for machine in chosen if machine is not None]
    assert len(taken) == len(set(taken)) <= limit
    assert all(machine is None or machine in load for load, machine in zip(loads, chosen, strict=True))
    assert worth(loads, chosen) == best_of_all(loads, limit)
    assert assign(loads, limit) == chosen


def test_an_earlier_load_makes_way_when_another_machine_does_for_it() -> None:
    assert assign([{"big": 9, "small": 8}, {"big": 1}], 2) == ["small", "big"]


def test_a_better_machine_goes_to_the_one_that_gains_more_by_it() -> None:
    assert assign([{"big": 9, "small": 8}, {"big": 9, "small": 2}], 2) == ["small", "big"]


def test_the_one_machine_goes_to_the_load_that_comes_first() -> None:
    assert assign([{"only": 1}, {"only": 9}], 2) == ["only", None]


def test_equal_machines_are_taken_by_name() -> None:
    assert assign([{"b": 5, "a": 5}, {"b": 5, "a": 5}], 2) == ["a", "b"]


def test_a_large_contested_round_is_served_at_least_as_well_as_by_choosing_in_turn() -> None:
    loads = [{f"m{number:02}": (number + 3) * (load + 7) * 37 % 997 for number in range(32)} for load in range(32)]
    in_turn: list[str | None] = []
    for load in loads:
        in_turn.append(max((machine for machine in load if machine not in in_turn), key=load.__getitem__))
    chosen = assign(loads, 32)
    assert worth(loads, chosen)[1] > worth(loads, in_turn)[1]
    assert None not in chosen
