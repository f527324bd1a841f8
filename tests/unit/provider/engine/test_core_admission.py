"""Who may run or wait, and what is refused with which numbers."""

import pytest

from provider.engine import Cause, EngineLimits, Finished, FinishReason, Usage
from provider.engine.core import Cancel, LimitRows, SetAdmission
from provider.engine.prefill import FIRST_CHUNK
from tests.testbed.byte_model import byte_model
from tests.testbed.engine_core import CoreBench


def test_unknown_model_is_unavailable():
    bench = CoreBench()
    assert bench.submit(model="other").cause is Cause.MODEL_UNAVAILABLE


@pytest.mark.parametrize("tokens", [(), (1, 258), (-1, 1)])
def test_prompt_without_or_with_unknown_tokens_is_invalid(tokens):
    assert CoreBench().submit(tokens).cause is Cause.INVALID_REQUEST


def test_prompt_that_fills_the_context_is_refused_with_both_numbers():
    bench = CoreBench(model=byte_model(context_tokens=16))
    sink = bench.submit("x" * 16)
    assert sink.cause is Cause.REQUEST_EXCEEDS_CONTEXT
    assert sink.end.failure.text == ("The prompt has 16 tokens, the model's limit is 16; shorten the prompt.")


def test_max_tokens_is_clamped_to_the_context():
    bench = CoreBench(model=byte_model(context_tokens=16))
    sink = bench.submit("x" * 10, max_tokens=4096)
    bench.turn(8)
    assert sink.end == Finished(FinishReason.LENGTH, Usage(10, 6))


def test_rows_beyond_the_cap_wait_in_arrival_order():
    bench = CoreBench(limits=EngineLimits(max_concurrent=2))
    sinks = [bench.submit("z", max_tokens=2) for _ in range(3)]
    bench.turn(2)
    assert (bench.slot.running, bench.slot.waiting) == (2, 1)
    bench.turn(4)
    assert [sink.text for sink in sinks] == ["ab"] * 3


def test_full_queue_refuses():
    bench = CoreBench(limits=EngineLimits(max_concurrent=1, max_waiting=1))
    bench.submit(max_tokens=5)
    bench.turn()
    bench.submit(max_tokens=5)
    assert bench.submit(max_tokens=5).cause is Cause.QUEUE_FULL


def test_request_larger_than_the_machine_names_the_maximum():
    bench = CoreBench(headroom=100 * 512)
    sink = bench.submit(max_tokens=600)
    assert sink.cause is Cause.REQUEST_EXCEEDS_NODE_BUDGET
    assert sink.end.failure.available_tokens == 512


def test_request_that_fits_later_is_token_budget_exhausted():
    bench = CoreBench(headroom=100 * 1024)
    bench.submit(max_tokens=500)
    bench.turn()
    sink = bench.submit(max_tokens=600)
    assert sink.cause is Cause.TOKEN_BUDGET_EXHAUSTED
    assert sink.end.failure.available_tokens == 512


def test_budget_figures_are_charged_tokens_and_return_to_zero():
    bench = CoreBench(headroom=100 * 4096)
    first = bench.submit(max_tokens=500)
    second = bench.submit(max_tokens=10)
    bench.turn()
    assert bench.slot.budget_used == 1024
    assert bench.slot.budget_max == 4096
    for number in (1, 2):
        bench.core.apply(Cancel(number))
    bench.turn()
    assert bench.slot.budget_used == 0
    assert first.end.reason is second.end.reason is FinishReason.CANCELLED


def test_waiting_rows_are_in_the_queued_figure():
    bench = CoreBench(limits=EngineLimits(max_concurrent=1))
    bench.submit(max_tokens=5)
    bench.submit(max_tokens=300)
    bench.turn()
    assert (bench.slot.budget_used, bench.slot.queued_budget) == (256, 512)


def test_small_row_overtakes_a_large_one_until_that_has_aged():
    bench = CoreBench()
    large = bench.submit(max_tokens=900)
    small = bench.submit(max_tokens=5)
    bench.free = 100 * 600
    bench.turn(2)
    assert small.text
    assert large.text == ""
    bench.now += 6
    bench.free = 10**9
    late = bench.submit(max_tokens=5)
    bench.free = 100 * 600
    bench.turn(2)
    assert late.text == ""
    bench.free = 10**9
    bench.turn(2)
    assert late.text
    assert large.text


def test_only_one_long_prefill_at_a_time():
    bench = CoreBench(model=byte_model(context_tokens=100_000))
    bench.submit("x" * 3000, max_tokens=5)
    bench.submit("x" * 3000, max_tokens=5)
    bench.turn()
    assert (bench.slot.running, bench.slot.waiting) == (1, 1)
    bench.turn(3000 // FIRST_CHUNK + 2)
    assert bench.slot.waiting == 0


def test_mixed_lengths_use_separate_generators():
    bench = CoreBench(model=byte_model(context_tokens=100_000))
    bench.submit(max_tokens=50)
    bench.submit(max_tokens=50_000)
    bench.turn()
    assert len(bench.backends[0].generators) == 2
    assert bench.slot.budget_used == 256 + 50_176


def test_model_that_cannot_be_batched_runs_one_row():
    bench = CoreBench(model=byte_model(batchable=False))
    bench.submit(max_tokens=5)
    bench.submit(max_tokens=5)
    bench.turn()
    assert (bench.slot.running, bench.slot.waiting, bench.slot.max_concurrency) == (1, 1, 1)


def test_closed_admission_refuses_all_but_the_self_test():
    bench = CoreBench()
    bench.core.apply(SetAdmission(False))
    assert bench.submit().cause is Cause.CAPACITY_BUSY
    warm = bench.submit("z", max_tokens=1, warm_up=True)
    bench.turn(2)
    assert warm.text == "a"


def test_closing_and_opening_admission_is_published_at_once_with_fresh_figures():
    bench = CoreBench()
    bench.turn()
    before = bench.core.snapshot
    bench.free = 0
    bench.core.apply(SetAdmission(False))
    bench.turn()
    assert bench.core.snapshot.change == before.change + 1
    assert bench.slot.budget_max == bench.slot.budget_used == 0


def test_hot_machine_runs_half_of_the_rows_and_the_running_ones_go_on():
    bench = CoreBench(limits=EngineLimits(max_concurrent=4))
    running = [bench.submit(max_tokens=50) for _ in range(3)]
    bench.turn(3)
    change = bench.core.snapshot.change
    bench.core.apply(LimitRows(0.5))
    more = [bench.submit(max_tokens=5) for _ in range(2)]
    bench.turn(3)
    assert bench.core.snapshot.change > change
    (slot,) = bench.core.snapshot.slots
    assert (slot.max_concurrency, slot.running, slot.waiting) == (2, 3, 2)
    bench.turn(60)
    assert all(sink.end.reason is FinishReason.LENGTH for sink in [*running, *more])
    bench.core.apply(LimitRows(0.1))
    bench.turn()
    assert bench.core.snapshot.slots[0].max_concurrency == 1
    bench.core.apply(LimitRows(1.0))
    bench.turn()
    assert bench.core.snapshot.slots[0].max_concurrency == 4
