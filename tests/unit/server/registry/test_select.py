"""Narrowing and choosing (acceptance 3-f, 3-h, 5-g, 5-h)."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.registry import Candidate, CostTerms, RoutingPolicy, SelfRoute
from server.registry.decision import ChoicePath
from server.registry.select import NEAR_TIE_US, choose, narrow
from tests.unit.server.registry.fleet import request, session

POLICY = RoutingPolicy()


def candidate(
    cost: float,
    occupancy: int = 0,
    pending: int = 0,
    *,
    version: str = "1",
    projected: float = 90,
    owned: bool = False,
    name: str = "s",
    share: float = 0.0,
) -> Candidate:
    return Candidate(
        session=session(caps={"version": version}, ident={"stable_id": name}),
        terms=CostTerms(state=cost),
        cost_us=round(1000 * cost),
        occupancy=occupancy,
        pending=pending,
        share=share,
        ttft_ms=None,
        tps=90,
        static_tps=90,
        projected_tps=projected,
        owned=owned,
    )


def test_near_ties_go_to_the_least_occupied() -> None:
    pool = [candidate(10_000, 2), candidate(12_500, 1), candidate(13_100, 0)]
    choice = choose(pool, Random(1))
    assert choice is not None
    assert (choice.winner, choice.path) == (pool[1], ChoicePath.TIE_QUEUE)


def test_equal_occupancy_and_pending_is_random() -> None:
    pool = [candidate(10_000, 0, 3), candidate(11_000, 0, 1), candidate(12_900, 0, 1)]
    random = Random(42)
    wins: Counter[int] = Counter()
    for _ in range(1_000):
        choice = choose(pool, random)
        assert choice is not None
        assert choice.path is ChoicePath.RANDOM
        wins[pool.index(choice.winner)] += 1
    assert wins[0] == 0
    assert 430 <= wins[1] <= 570


def test_fewest_reservations_break_a_tie() -> None:
    pool = [candidate(10_000, 0, 3), candidate(11_000, 0, 1)]
    choice = choose(pool, Random(1))
    assert choice is not None
    assert (choice.winner, choice.path) == (pool[1], ChoicePath.TIE_PENDING)


def test_unique_minimum_and_nothing() -> None:
    pool = [candidate(10_000, 9), candidate(13_001, 0)]
    choice = choose(pool, Random(1))
    assert choice is not None
    assert (choice.winner, choice.path) == (pool[0], ChoicePath.UNIQUE_MIN)
    assert choose([], Random(1)) is None


@given(
    st.lists(st.tuples(st.integers(0, 9_000), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12),
    st.randoms(use_true_random=False),
)
def test_choice_is_near_the_minimum_and_independent_of_order(rows: list[tuple[int, int, int]], random: Random) -> None:
    pool = [candidate(*row) for row in rows]
    choice = choose(pool, random)
    assert choice is not None
    winner = choice.winner
    best = min(one.cost_us for one in pool)
    near = [one for one in pool if one.cost_us - best <= NEAR_TIE_US]
    assert winner in near
    assert (winner.occupancy, winner.pending) == min((one.occupancy, one.pending) for one in near)
    again = choose(pool[::-1], Random(3))
    assert again is not None
    assert (again.winner.occupancy, again.winner.pending) == (winner.occupancy, winner.pending)


def test_prefer_keeps_owned_machines_if_any() -> None:
    mine, other = candidate(90_000, owned=True), candidate(1)
    asked = request(self_route=SelfRoute.PREFER)
    assert narrow([mine, other], asked, POLICY) == [mine]
    assert narrow([other], asked, POLICY) == [other]
    assert narrow([mine, other], request(), POLICY) == [mine, other]


def test_avoided_version_is_used_only_when_there_is_no_other() -> None:
    old, new = candidate(1, version="0.6.31"), candidate(9, version="0.6.30")
    asked = request(avoid_version="0.6.31")
    assert narrow([old, new], asked, POLICY) == [new]
    assert narrow([old], asked, POLICY) == [old]


@pytest.mark.parametrize(("floor", "kept"), [(15.0, 1), (0.0, 2)])
def test_slow_machines_are_left_out_while_faster_ones_exist(floor: float, kept: int) -> None:
    fast, slow = candidate(9, projected=16.5), candidate(1, projected=12.9)
    policy = RoutingPolicy(min_decode_tps=floor)
    assert len(narrow([fast, slow], request(), policy)) == kept
    assert narrow([slow], request(), policy) == [slow]


def wins_of_first(*pool: Candidate, doubted: str = "bad") -> int:
    """How often the first of two is chosen by cost v2 in 2,000 decisions."""
    random, wins = Random(5), 0
    for _ in range(2_000):
        choice = choose(pool, random, expected=True, doubtful=doubted.__eq__)
        assert choice is not None
        assert choice.equal == 2
        wins += choice.winner is pool[0]
    return wins


def test_a_machine_that_fails_often_stands_behind_one_that_is_as_free() -> None:
    assert wins_of_first(candidate(10_000, name="bad"), candidate(10_050, name="good")) == 0


def test_machines_that_are_alike_are_left_to_chance() -> None:
    assert 900 <= wins_of_first(candidate(10_000, name="a"), candidate(10_050, name="b")) <= 1_100
    assert 900 <= wins_of_first(candidate(10_000, name="bad"), candidate(10_050, name="bad")) <= 1_100


def test_doubts_never_outweigh_load() -> None:
    free = candidate(10_000, 0, name="bad")
    assert wins_of_first(free, candidate(10_000, 1, name="good")) == 2_000
    assert wins_of_first(free, candidate(10_000, 0, name="good", share=0.2)) == 2_000
