"""Dividing a budget: the example of the specification, and what must hold for all claims."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from server.rewards.allocation import Claim, allocate
from server.rewards.floors import is_workhorse


def claim(
    key: str, memory_gb: int, draw: int, *, account: str = "", organic: int = 0, floor: int | None = None
) -> Claim:
    return Claim(
        provider_key=key,
        account_id=account or f"owner-{key}",
        memory_gb=memory_gb,
        floor=draw if floor is None else floor,
        organic=organic,
        draw=draw,
    )


A = claim("a", 64, 2_083)
B = claim("b", 512, 4_630)


def test_workhorses_are_served_first_from_half_of_the_budget() -> None:
    assert allocate([B, A], budget=3_000) == {"a": 2_083, "b": 917}


def test_everybody_gets_all_when_there_is_enough() -> None:
    assert allocate([A, B], budget=6_713) == {"a": 2_083, "b": 4_630}


def test_what_was_settled_before_is_gone() -> None:
    assert allocate([A, B], budget=3_000, settled=2_500) == {"a": 500, "b": 0}
    assert allocate([A], budget=3_000, settled=3_500) == {"a": 0}


def test_idle_machines_come_before_busy_ones() -> None:
    busy, idle = claim("a", 128, 1_000, organic=900), claim("z", 128, 1_000)
    assert allocate([busy, idle], budget=1_500) == {"z": 1_000, "a": 500}
    assert (busy.score, idle.score) == (Fraction(1, 10), 1)


def test_equal_scores_are_served_by_key() -> None:
    assert allocate([claim("n", 128, 10), claim("m", 128, 10)], budget=15) == {"m": 10, "n": 5}


def test_a_machine_without_a_floor_scores_nothing_for_being_idle() -> None:
    assert claim("x", 512, 0).score == 0
    assert claim("x", 64, 0).score == 1


def test_an_account_gets_no_more_than_its_cap() -> None:
    claims = [claim("a", 64, 1_000, account="ann"), claim("b", 512, 1_000, account="ann"), claim("c", 128, 1_000)]
    assert allocate(claims, budget=10_000, account_cap=1_200) == {"a": 1_000, "b": 200, "c": 1_000}
    assert allocate(claims, budget=10_000, account_cap=1_200, settled_by_account={"ann": 1_200}) == {
        "a": 0,
        "b": 0,
        "c": 1_000,
    }


@st.composite
def claims(draw: st.DrawFn) -> list[Claim]:
    count = draw(st.integers(0, 12))
    amounts = st.integers(0, 5_000)
    found = []
    for number in range(count):
        floor = draw(amounts)
        found.append(
            claim(
                f"m{number}",
                draw(st.sampled_from([24, 48, 64, 96, 128, 512])),
                draw(st.integers(0, floor)),
                account=draw(st.sampled_from(["ann", "bob", "cara"])),
                organic=draw(amounts),
                floor=floor,
            )
        )
    return found


@given(
    found=claims(),
    budget=st.integers(0, 30_000),
    settled=st.integers(0, 30_000),
    cap=st.none() | st.integers(0, 10_000),
    before=st.dictionaries(st.sampled_from(["ann", "bob"]), st.integers(0, 10_000)),
)
def test_grants_never_pass_budget_claim_or_cap(
    found: list[Claim], budget: int, settled: int, cap: int | None, before: dict[str, int]
) -> None:
    granted = allocate(found, budget=budget, settled=settled, account_cap=cap, settled_by_account=before)
    assert set(granted) == {one.provider_key for one in found}
    assert sum(granted.values()) <= max(0, budget - settled)
    for one in found:
        assert 0 <= granted[one.provider_key] <= one.draw
    if cap is not None:
        for account in {one.account_id for one in found}:
            mine = sum(granted[one.provider_key] for one in found if one.account_id == account)
            assert mine <= max(0, cap - before.get(account, 0))


@given(found=claims(), budget=st.integers(0, 30_000))
def test_nothing_is_left_while_somebody_wants_it(found: list[Claim], budget: int) -> None:
    granted = allocate(found, budget=budget)
    assert sum(granted.values()) == min(budget, sum(one.draw for one in found))
    workhorses = [one for one in found if is_workhorse(one.memory_gb)]
    assert sum(granted[one.provider_key] for one in workhorses) >= min(budget // 2, sum(one.draw for one in workhorses))
    assert granted == allocate(found[::-1], budget=budget)
