"""Predicted against actual times to first token, output lengths, and what a missed deadline means."""

from __future__ import annotations

from random import Random

import pytest

from server.registry.calibration import KEYS_MAX as WINDOWS_MAX
from server.registry.calibration import PENDING_MAX, RatioWindow, TtftCalibration
from server.registry.first_content import FirstContentTimes
from server.registry.output_length import KEYS_MAX, OutputLengths
from tests.unit.server.registry.fleet import Fleet, request, wire_slot


def feed(calibration: TtftCalibration, count: int, ratio: float, *, model: str = "m", chip: str = "M3") -> None:
    for number in range(count):
        name = f"{model}{chip}{ratio}{number}"
        calibration.predicted(name, model, chip, 1_000.0, 0.0)
        calibration.content(name, ratio)


@pytest.mark.parametrize(("resident", "estimate"), [(True, 309.222), (False, 30_309.222)])
def test_only_the_flow_is_scaled(resident: bool, estimate: float) -> None:
    fleet = Fleet()
    feed(fleet.registry.calibration, 60, 0.33)
    fleet.connect("a")
    if resident:
        fleet.beat("a", wire_slot(active_token_budget_max=100_000))
    else:
        fleet.beat("a", free_for_load=60.0)
    # 1,000 prompt tokens at 1,080 a second and one token at 90: 937.037 ms as it stands.
    found = fleet.registry.choose_and_reserve(request(prompt_tokens=1_000), fleet.now)
    assert found.winner is not None
    assert found.winner.ttft_ms == pytest.approx(estimate, abs=0.001)


def test_the_fiftieth_sample_counts() -> None:
    calibration = TtftCalibration()
    feed(calibration, 49, 0.5)
    assert calibration.ratio("m", "M3") == 1.0
    assert calibration.q90_ms("m", 1_000.0) is None
    feed(calibration, 1, 0.5)
    assert calibration.ratio("m", "M3") == 0.5
    assert calibration.ratio("m", "M1") == 0.5
    assert calibration.ratio("other", "M3") == 1.0
    assert calibration.q90_ms("m", 2_000.0) == 1_000.0


@pytest.mark.parametrize(("ratio", "applied"), [(0.05, 0.2), (7.0, 1.5)])
def test_the_ratio_is_bounded(ratio: float, applied: float) -> None:
    calibration = TtftCalibration()
    feed(calibration, 60, ratio)
    assert calibration.ratio("m", "M3") == applied


def test_the_chip_family_outranks_the_model() -> None:
    calibration = TtftCalibration()
    feed(calibration, 60, 1.2, chip="M1")
    feed(calibration, 50, 0.4, chip="M4")
    assert calibration.ratio("m", "M4") == 0.4
    assert calibration.ratio("m", "M1") == 1.2


def test_what_was_forgotten_or_came_too_late_teaches_nothing() -> None:
    calibration = TtftCalibration()
    calibration.predicted("raced", "m", "M3", 1_000.0, 0.0)
    calibration.forget("raced")
    assert calibration.content("raced", 1.0) is None
    calibration.predicted("late", "m", "M3", 1_000.0, 0.0)
    assert calibration.content("late", 601.0) is None
    assert calibration.content("unknown", 1.0) is None
    calibration.predicted("good", "m", "M3", 1_000.0, 0.0)
    assert calibration.content("good", 0.75) == 0.75


def test_predictions_are_bounded() -> None:
    calibration = TtftCalibration()
    for number in range(PENDING_MAX + 1):
        calibration.predicted(str(number), "m", "M3", 1_000.0, 0.0)
    assert calibration.content("0", 1.0) is None
    assert calibration.content("1", 1.0) == 1.0
    calibration.predicted("new", "m", "M3", 1_000.0, 600.0)
    assert calibration.content("2", 600.0) is None


def test_output_lengths_by_model_and_account() -> None:
    lengths = OutputLengths()
    assert lengths.expected("m", "a", 8_192) == 256
    assert lengths.expected("m", "a", 100) == 100
    for _ in range(20):
        lengths.note("m", "talker", 1_000)
    assert lengths.expected("m", "talker", 8_192) == pytest.approx(1_000)
    for _ in range(7):
        lengths.note("m", "terse", 10)
    everybody = lengths.expected("m", "newcomer", 8_192)
    assert everybody == lengths.expected("m", "terse", 8_192)
    lengths.note("m", "terse", 10)
    assert lengths.expected("m", "terse", 8_192) == pytest.approx(10)
    assert lengths.expected("m", "talker", 300) == 300
    lengths.note("m", "terse", 0)
    assert lengths.p90("m") == 1_000
    assert lengths.p90("other") is None


def test_output_length_keys_are_bounded() -> None:
    lengths = OutputLengths()
    for number in range(KEYS_MAX + 1):
        lengths.note(f"m{number}", None, 1)
    assert lengths.p90("m0") is None
    assert lengths.p90("m1") == 1


def test_p90_is_nearest_rank() -> None:
    lengths = OutputLengths()
    for number in range(1, 301):
        lengths.note("m", None, number)
    # The last 200 are 101..300; nine of ten are at most 280.
    assert lengths.p90("m") == 280


# --- deadlines


def test_a_few_slow_machines_are_to_blame() -> None:
    times = FirstContentTimes()
    for number in range(45):
        times.delivered("m", f"good{number}", 1.0, 5.0, 0.0)
    assert all(times.missed("m", f"hole{number}", 5.0, 5.0, 1.0) for number in range(5))


def test_when_many_miss_the_deadline_is_too_short() -> None:
    times = FirstContentTimes()
    verdicts = [times.missed("m", f"p{number}", 5.0, 5.0, float(number)) for number in range(6)]
    assert verdicts == [True, True, False, False, False, False]
    assert times.missed("m", "p0", 5.0, 5.0, 200.0)


def test_what_had_no_time_left_shows_nothing() -> None:
    times = FirstContentTimes()
    assert not times.missed("m", "p", 2.0, 5.0, 0.0)


def test_the_deadline_follows_what_is_needed() -> None:
    times = FirstContentTimes()
    assert times.extended("m", 5.0) == 5.0
    for number in range(100):
        times.delivered("m", "p", 1.0, 5.0, float(number))
    assert times.extended("m", 5.0) == 5.0
    for number in range(100):
        times.delivered("m", "p", 6.0, 5.0, float(number))
    assert times.extended("m", 5.0) == pytest.approx(9.0)


def test_requests_that_hang_do_not_make_the_others_wait() -> None:
    """One in five hangs wherever it goes, the others begin within a second: the deadline at most doubles."""
    times = FirstContentTimes()
    for number in range(1_000):
        if number % 5:
            times.delivered("m", f"p{number % 40}", 1.0, 5.0, float(number))
        else:
            times.missed("m", f"p{number % 40}", times.extended("m", 5.0), 5.0, float(number))
    assert times.extended("m", 5.0) == 10.0


def test_the_deadline_reaches_on_while_that_brings_answers() -> None:
    """Answers take 1 to 20 s evenly; under a deadline of 5 s it grows, step by step, until nearly all begin in time."""
    times, random = FirstContentTimes(), Random(3)
    for number in range(3_000):
        needed, allowed = random.uniform(1.0, 20.0), times.extended("m", 5.0)
        if needed <= allowed:
            times.delivered("m", f"p{number % 40}", needed, 5.0, float(number))
        else:
            times.missed("m", f"p{number % 40}", allowed, 5.0, float(number))
    assert times.extended("m", 5.0) > 19.0


def test_cut_requests_count_as_long_ones_so_the_deadline_escapes() -> None:
    """A model whose answers all begin after 15 s, under a deadline of 5 s: it is served within some rounds."""
    times = FirstContentTimes()
    truth, rounds = 15.0, 0
    while (allowed := times.extended("m", 5.0)) < truth:
        rounds += 1
        assert rounds < 150
        times.missed("m", f"p{rounds % 40}", allowed, 5.0, float(rounds))
    assert times.extended("m", 500.0) <= 12 * 500.0


def test_stored_windows_are_taken_where_nothing_better_is_known() -> None:
    known = TtftCalibration()
    feed(known, 60, 0.5)
    stored = known.take_changed(10)
    assert {window[:2] for window in stored} == {("m", "M3"), ("m", None)}
    assert known.take_changed(10) == []
    known.put_back(stored)
    feed(known, 1, 0.7)
    assert len(known.take_changed(10)) == 2
    other = TtftCalibration()
    feed(other, 1, 0.9, chip="M1")
    other.restore(stored)
    assert other.ratio("m", "M3") == 0.5
    assert other.q90_ms("m", 1_000.0) is None, "its own one sample of the model outranks what was stored"


def test_stored_windows_are_bounded_and_the_last_used_one_leaves_last() -> None:
    calibration = TtftCalibration()
    calibration.restore(RatioWindow(f"m{number}", None, (0.5,) * 300) for number in range(WINDOWS_MAX + 1))
    assert len(calibration) == WINDOWS_MAX
    calibration.predicted("r", "new", "M3", 1_000.0, 0.0)
    calibration.content("r", 1.0)
    assert calibration.ratio("m0", "M3") == 0.5
    assert calibration.ratio(f"m{WINDOWS_MAX - 1}", "M3") == calibration.ratio(f"m{WINDOWS_MAX - 2}", "M3") == 1.0
    assert calibration.ratio(f"m{WINDOWS_MAX - 3}", "M3") == 0.5
    assert len(calibration.take_changed(100)) == 2
