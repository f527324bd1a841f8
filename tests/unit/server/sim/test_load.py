"""The generator of load: reproducible, and with the waves and bursts that were asked for."""

from __future__ import annotations

from statistics import median

import pytest
from msgspec import structs

from server.sim.clients import FICKLE, OBEDIENT
from server.sim.errors import SimulationError
from server.sim.load import Burst, Lengths, Load, draw_manners, generate

LOAD = Load(seconds=200.0, rate=10.0, models={"m": 3.0, "n": 1.0})


def test_the_same_seed_gives_the_same_trace_and_another_one_does_not() -> None:
    assert generate(LOAD, 1) == generate(LOAD, 1)
    assert generate(LOAD, 1) != generate(LOAD, 2)


def test_rate_order_and_shares_are_as_asked_for() -> None:
    arrivals = generate(LOAD, 3)
    assert 1_850 < len(arrivals) < 2_150
    times = [one.t_ms for one in arrivals]
    assert times == sorted(times)
    assert times[-1] < 200_000
    share = sum(one.model == "m" for one in arrivals) / len(arrivals)
    assert 0.71 < share < 0.79
    assert all(one.out is not None and one.out <= one.max_tokens for one in arrivals)


def test_a_burst_multiplies_the_rate_while_it_lasts() -> None:
    arrivals = generate(structs.replace(LOAD, bursts=(Burst(50.0, 20.0, 5.0),)), 1)
    inside = sum(50_000 <= one.t_ms < 70_000 for one in arrivals)
    before = sum(20_000 <= one.t_ms < 40_000 for one in arrivals)
    assert 4.0 < inside / before < 6.0


def test_a_wave_is_low_at_its_beginning_and_high_half_a_day_later() -> None:
    arrivals = generate(structs.replace(LOAD, wave=0.9, day=200.0), 1)
    night = sum(one.t_ms < 40_000 for one in arrivals)
    noon = sum(80_000 <= one.t_ms < 120_000 for one in arrivals)
    assert noon > 5 * night


def test_lengths_have_their_median_and_stay_within_their_bounds() -> None:
    load = structs.replace(LOAD, prompt=Lengths(median=100, sigma=1.0, low=50, high=400))
    prompts = sorted(one.prompt for one in generate(load, 1))
    assert 85 < median(prompts) < 115
    assert (prompts[0], prompts[-1]) == (50, 400)


def test_conversations_grow_and_carry_their_prefix() -> None:
    arrivals = generate(structs.replace(LOAD, accounts=3, conversations=0.8), 1)
    later = [one for one in arrivals if one.prefix_tokens]
    assert 0.6 < len(later) / len(arrivals) < 0.85
    assert all(one.prefix is not None and one.prefix_tokens < one.prompt for one in later)


def test_a_client_is_the_same_whatever_the_policy() -> None:
    load = structs.replace(LOAD, clients=((OBEDIENT, 0.5), (FICKLE, 0.5)))
    drawn = [draw_manners(load, 1, job) for job in range(200)]
    assert drawn == [draw_manners(load, 1, job) for job in range(200)]
    assert 70 < drawn.count(FICKLE) < 130


def test_too_much_load_is_refused_before_it_is_drawn() -> None:
    with pytest.raises(SimulationError, match="are too many"):
        generate(structs.replace(LOAD, rate=1e6), 1)
