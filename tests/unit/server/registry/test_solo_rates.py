"""Solo rates and the load factor, learned from machines under load."""

from __future__ import annotations

from random import Random

import pytest

from server.registry.rates import solo_rate
from server.registry.solo_rates import EPOCH_SECONDS, LearnedRates, shrunk


def test_normalising_example() -> None:
    assert solo_rate(30.0, 3, 0.39) == pytest.approx(65.1)


def test_few_samples_are_drawn_towards_the_prior() -> None:
    assert shrunk(100.0, 0.0, 60.0) == 60.0
    assert shrunk(100.0, 8.0, 60.0) == 80.0
    assert shrunk(100.0, 72.0, 60.0) == 96.0


def feed(rates: LearnedRates, rate: float, now: float, *, batch: int = 0, machine: str = "d") -> None:
    rates.feed(machine, "m", "c", rate, batch=batch, now=now)


def test_weights_halve_in_ten_minutes() -> None:
    rates = LearnedRates()
    feed(rates, 100.0, 0.0)
    feed(rates, 100.0, 0.0)
    feed(rates, 40.0, 600.0)
    # Two samples of ten minutes ago weigh as much as one of now; both together are drawn towards the benchmark.
    assert rates.solo("d", "m", "other", benchmark=50.0, now=600.0) == pytest.approx(shrunk(70.0, 2.0, 50.0))
    assert rates.solo("d", "m", "other", benchmark=50.0, now=1_200.0) == pytest.approx(shrunk(70.0, 1.0, 50.0))


def test_the_load_factor_is_learned_from_mixed_batches() -> None:
    random, rates = Random(5), LearnedRates()
    for number in range(256):
        batch = random.randrange(1, 9)
        feed(rates, 92.0 / (1 + 0.27 * batch) * random.uniform(0.97, 1.03), float(number), batch=batch)
    assert rates.factor("m", "c", 0.39) == pytest.approx(0.27, abs=0.03)
    assert rates.factor("m", "other", 0.39) == 0.39


@pytest.mark.parametrize("batches", [[3] * 100, [1, 2, 3]])
def test_one_batch_size_or_few_samples_teach_no_factor(batches: list[int]) -> None:
    rates = LearnedRates()
    for batch in batches:
        feed(rates, 50.0, 0.0, batch=batch)
    assert rates.factor("m", "c", 0.5) == 0.5


def test_a_new_epoch_changes_nothing() -> None:
    plain, moved = LearnedRates(), LearnedRates()
    feed(moved, 100.0, 0.0)
    start = EPOCH_SECONDS - 5.0
    for number in range(20):
        feed(plain, 60.0 + number, start + number, batch=number % 4)
        feed(moved, 60.0 + number, start + number, batch=number % 4)
    for rates in (plain, moved):
        assert rates.solo("d", "m", "c", benchmark=50.0, now=start + 20) == pytest.approx(
            plain.solo("d", "m", "c", benchmark=50.0, now=start + 20)
        )
    assert moved.solo("d", "m", "c", benchmark=50.0, now=start + 20) > 60


def test_a_loaded_fleet_does_not_make_an_idle_machine_look_slow() -> None:
    rates = LearnedRates()
    for number in range(50):
        rates.feed(f"busy{number}", "m", "M3|Max", 90 / (1 + 0.39 * 4), batch=4, now=float(number))
    assert rates.solo("idle", "m", "M3|Max", benchmark=20.0, now=50.0) == pytest.approx(90.0, rel=0.02)
    assert rates.solo("idle", "m", "M1|Base", benchmark=0.0, now=50.0) == pytest.approx(90.0, rel=0.02)
    assert rates.solo("idle", "m", "M1|Base", benchmark=20.0, now=50.0) == 0.0
    assert rates.solo("idle", "other", "M3|Max", benchmark=20.0, now=50.0) == 0.0


def test_a_throttled_machine_is_seen() -> None:
    rates = LearnedRates()
    for number in range(40):
        rates.feed("hot", "m", "M3|Max", 90.0 / 1.39, batch=1, now=float(number))
        rates.feed("cool", "m", "M3|Max", 90.0 / 1.39, batch=1, now=float(number))
    for number in range(40):
        rates.feed("hot", "m", "M3|Max", 30.0 / 1.39, batch=1, now=3_000.0 + number)
        rates.feed("cool", "m", "M3|Max", 90.0 / 1.39, batch=1, now=3_000.0 + number)
    hot = rates.solo("hot", "m", "M3|Max", benchmark=90.0, now=3_040.0)
    assert hot < 45
    assert rates.solo("cool", "m", "M3|Max", benchmark=90.0, now=3_040.0) > 75
