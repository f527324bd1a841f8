"""Deadlines, timeouts and measured speeds, on a hand-driven clock."""

import pytest

from provider.engine import Cause, EngineLimits, FinishReason
from tests.testbed.byte_model import byte_model
from tests.testbed.engine_core import CoreBench


def test_paused_row_ends_after_the_backpressure_timeout():
    bench = CoreBench()
    slow = bench.submit("z", max_tokens=20, window=4)
    bench.turn(6)
    assert bench.core.wait_seconds == 1.0
    bench.now += 119
    bench.turn()
    assert slow.end is None
    bench.now += 1
    bench.turn()
    assert slow.cause is Cause.BACKPRESSURE_TIMEOUT
    assert bench.slot.budget_used == 0


def test_waiting_row_ends_when_its_deadline_passes():
    bench = CoreBench(limits=EngineLimits(max_concurrent=1))
    bench.submit(max_tokens=500)
    sink = bench.submit(max_tokens=5, deadline=1010.0)
    bench.turn()
    bench.now = 1010.5
    bench.turn()
    assert sink.cause is Cause.DEADLINE_UNREACHABLE


def test_row_whose_deadline_passed_is_not_started():
    bench = CoreBench()
    sink = bench.submit(deadline=999.0)
    bench.turn()
    assert sink.cause is Cause.DEADLINE_UNREACHABLE


def test_waiting_row_ends_after_the_admission_timeout():
    bench = CoreBench(limits=EngineLimits(max_concurrent=1, decode_timeout=1e9, safety_grace=1e9))
    bench.submit(max_tokens=500)
    sink = bench.submit(max_tokens=5)
    bench.turn()
    bench.now += 120
    bench.turn()
    assert sink.cause is Cause.ADMISSION_TIMEOUT


def test_prefill_that_gives_no_token_stalls():
    bench = CoreBench(model=byte_model(context_tokens=100_000))
    sink = bench.submit("x" * 50_000, max_tokens=5)
    bench.turn()
    bench.now += 120
    bench.turn()
    assert sink.cause is Cause.PREFILL_STALL


def test_row_without_tokens_for_two_minutes_stalls():
    bench = CoreBench(model=byte_model(context_tokens=100_000))
    sink = bench.submit(max_tokens=500)
    bench.turn(3)
    row = bench.core._live[1][1]
    bench.now += 2
    row.last_token_at = bench.now - 120
    bench.core._slots["bytes"].sweep(bench.core.outbox)
    bench.flush()
    assert sink.cause is Cause.DECODE_STALL


def test_row_that_runs_too_long_meets_the_safety_deadline():
    bench = CoreBench()
    sink = bench.submit("z", max_tokens=50)
    for _ in range(18):
        bench.turn()
        bench.now += 10
    assert sink.end.failure.cause is Cause.SAFETY_DEADLINE
    assert sink.end.usage.completion_tokens > 5


def test_measured_speeds_appear_after_a_request():
    bench = CoreBench()
    assert bench.core.snapshot.slots == ()
    bench.submit("z" * 64, max_tokens=4)
    for _ in range(6):
        bench.turn()
        bench.now += 0.5
    assert bench.slot.decode_tps == pytest.approx(2.0)
    assert bench.slot.prefill_tps == pytest.approx(128.0)
    assert (bench.slot.admits, bench.slot.first_tokens_emitted) == (1, 1)


def test_a_tiny_prompt_says_nothing_about_the_speed_of_prompts():
    bench = CoreBench()
    bench.submit("z", max_tokens=2)
    for _ in range(4):
        bench.turn()
        bench.now += 5.0
    assert bench.slot.prefill_tps is None
    assert bench.submit("z" * 40, max_tokens=2, deadline=bench.now + 1.0).end is None


def test_a_speed_that_refuses_everything_is_measured_again_after_a_minute():
    bench = CoreBench()
    bench.submit("z" * 40, max_tokens=1)
    for _ in range(3):
        bench.turn()
        bench.now += 20.0

    def ask():
        sink = bench.submit("z" * 40, max_tokens=1, deadline=bench.now + 1.0)
        bench.turn(3)
        return sink.end

    assert ask().failure.cause is Cause.DEADLINE_UNREACHABLE
    bench.now += 60.0
    assert ask().reason is FinishReason.LENGTH
