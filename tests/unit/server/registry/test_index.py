"""The index and a walk by the full functions always make the same choice, through every change of a session."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.messages.from_provider import SystemMetrics
from server.registry import Reason, RoutingPolicy, Traits
from server.registry.least_loaded import DRAWS
from tests.unit.server.registry.agreement import agrees, bests_hold, holds
from tests.unit.server.registry.fleet import Fleet, register_message, request, wire_slot
from tests.unit.server.registry.play import (
    DRAWN,
    NAMES,
    WHAT,
    Play,
    asks,
    policies,
    random_slot,
    steps,
    usual_slot,
)

if TYPE_CHECKING:
    from server.registry import RoutedRequest


def play_through(policy: RoutingPolicy, happenings: list[Any], asked: list[RoutedRequest], draws: list[float]) -> int:
    play = Play(policy)
    compared = 0
    for number, happening in enumerate(happenings):
        play.step(*happening)
        bests_hold(play.fleet)
        agrees(play.fleet, asked[number % len(asked)], draws)
        compared += 1
    for one in asked:
        agrees(play.fleet, one, draws)
    holds(play.fleet)
    for name in NAMES:
        play.fleet.registry.disconnect(name, play.fleet.now, graceful=True)
    assert list(play.fleet.registry._index.models()) == []
    return compared + len(asked)


@settings(max_examples=150, deadline=None)
@given(policies, steps, st.lists(asks, min_size=1, max_size=3), DRAWN)
def test_the_index_chooses_as_a_walk_does(
    policy: RoutingPolicy, happenings: list[Any], asked: list[RoutedRequest], draws: list[float]
) -> None:
    play_through(policy, happenings, asked, draws)


def crowd(random: Random, decisions: int, *, alike: bool) -> None:
    """Compare so many choices over one crowd of up to 90 machines, of every kind or all `alike`."""
    policy = RoutingPolicy(
        cost_model=random.choice(("v1", "v2")),
        quality_cap=random.random() < 0.7,
        ttft_hard_reject=random.random() < 0.2,
    )
    size = random.choice((6, 6, 6, 30, 60, 90))
    play = Play(policy, size)
    for index in range(size):
        report = usual_slot(random) if alike else wire_slot("m", active_token_budget_max=100_000)
        play.step("beat", index, [report], 1)
        for _ in range(random.choice((0, 5, 30, 30))):
            play.fleet.registry.machines.succeeded(f"dev-s{index}")
        for _ in range(random.choice((0, 0, 0, 20))):
            play.fleet.registry.machines.failed(f"dev-s{index}")
    for _ in range(decisions):
        for _ in range(random.choice((1, 1, 4))):
            what, index, number = random.choice(WHAT), random.randrange(size), random.randrange(4)
            report = usual_slot(random) if alike else random_slot(random)
            play.step(what, index, [report], 1 if alike and what == "beat" else number)
        asked = request(
            10_000,
            model=random.choice(("m", "m", "m", "n")),
            prompt_tokens=random.choice((1, 90, 700, 3_000, 20_000)),
            max_tokens=random.choice((16, 256, 1_000, 8_000)),
            account_id=random.choice((None, "consumer", "owner-4")),
            traits=random.choice((Traits(), Traits(), Traits(has_tools=True))),
            excluded_sessions=random.choice((frozenset(), frozenset(), frozenset({"s0", "s3"}))),
            avoid_version=random.choice((None, None, "0.6.30")),
        )
        agrees(play.fleet, asked, [random.random() for _ in range(DRAWS + 2)])
    holds(play.fleet)


@pytest.mark.parametrize("seed", range(24))
def test_the_index_chooses_as_a_walk_does_in_a_crowd(seed: int) -> None:
    crowd(Random(seed), 40, alike=seed % 2 == 1)


@pytest.mark.nightly
@pytest.mark.parametrize("part", range(10))
def test_a_hundred_thousand_choices_agree(part: int) -> None:
    random = Random(1_000 + part)
    for number in range(100):
        crowd(random, 100, alike=number % 2 == 1)


@pytest.mark.parametrize(("running", "rejections"), [(1, {}), (2, {Reason.NO_HEADROOM: 1})])
def test_a_busy_model_keeps_the_quality_cap(running: int, rejections: dict[Reason, int]) -> None:
    fleet = Fleet(policy=RoutingPolicy())
    fleet.connect("slow", message=register_message(decode_tps=14.0))
    fleet.beat("slow", wire_slot(active_token_budget_max=100_000, num_running=running))
    agrees(fleet, request(), [0.0] * 8)
    assert fleet.registry.look(request(), fleet.now).rejections == rejections


@pytest.mark.parametrize("cost_model", ["v1", "v2"])
def test_the_best_of_a_row_follows_a_machine_whose_speed_alone_changed(cost_model: str) -> None:
    fleet = Fleet(policy=RoutingPolicy(cost_model=cost_model, quality_cap=False))

    def beat(name: str, tps: float, running: int) -> None:
        fleet.clock.now += 1
        one = wire_slot(active_token_budget_max=1_000_000, observed_decode_tps=tps, num_running=running)
        fleet.beat(name, one, seq=int(fleet.now))

    fleet.connect("cheap")
    fleet.connect("slow")
    asked = request(1, prompt_tokens=1, max_tokens=500)
    beat("cheap", 200.0, 1)
    for tps in (50.0, 25.0):
        beat("slow", tps, 0)
        bests_hold(fleet)
        agrees(fleet, asked, [0.0] * 8)
    beat("cheap", 200.0, 10)
    agrees(fleet, asked, [0.0] * 8)


def test_the_price_holds_the_state_of_the_machine(fleet: Fleet) -> None:
    metrics = SystemMetrics(memory_pressure=0.5, cpu_usage=0.2, thermal_state="fair")
    fleet.connect("a")
    fleet.beat("a", wire_slot(active_token_budget_max=100_000), system_metrics=metrics)
    agrees(fleet, request(), [0.0] * 8)
