"""Bounds that a machine's owner sets, and what the engine counts for its metrics."""

import pytest

from provider.engine import EngineLimits
from provider.engine.core import Detach
from tests.testbed.byte_model import byte_model
from tests.testbed.engine_core import CoreBench, FakeReply


def test_single_models_have_bounds_of_their_own():
    bench = CoreBench(limits=EngineLimits(max_concurrent=4, max_concurrent_by_model={"bytes": 2}))
    bench.attach(byte_model("other"))
    for model in ("bytes", "other"):
        for _row in range(6):
            bench.submit(model=model, max_tokens=50)
    bench.turn(2)
    assert {slot.model: (slot.running, slot.max_concurrency) for slot in bench.core.snapshot.slots} == {
        "bytes": (2, 2),
        "other": (4, 4),
    }


def test_a_bound_outside_of_the_wire_is_refused():
    with pytest.raises(ValueError, match="max_concurrent is 25"):
        EngineLimits(max_concurrent_by_model={"m": 25})


@pytest.mark.parametrize(("prefill_step", "steps"), [(0, [64, 64, 64, 64, 44]), (128, [128, 128, 44])])
def test_a_fixed_prefill_step_wins_over_the_measured_one(prefill_step, steps):
    bench = CoreBench(limits=EngineLimits(prefill_step=prefill_step))
    bench.submit("x" * 300, max_tokens=5)
    bench.turn(5)
    assert [work.prompt for work in bench.steps if work.prompt] == steps


def test_a_row_says_how_long_it_waited():
    bench = CoreBench(limits=EngineLimits(max_concurrent=1))
    first, second = bench.submit(max_tokens=2), bench.submit(max_tokens=2)
    bench.turn()
    bench.now += 7.0
    bench.turn(8)
    assert (first.queued_seconds, second.queued_seconds) == (0.0, 7.0)


def test_faults_are_counted_over_the_life_of_a_model():
    bench = CoreBench()
    bench.submit(max_tokens=50)
    bench.turn(2)
    bench.faults.raise_next = [RuntimeError("a step that failed")]
    bench.turn()
    assert bench.core.snapshot.faults == 1
    bench.core.apply(Detach("bytes", FakeReply()))
    bench.turn(2)
    assert (bench.core.snapshot.slots, bench.core.snapshot.faults) == ((), 1)
