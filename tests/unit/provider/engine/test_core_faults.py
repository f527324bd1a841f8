"""Faults of generators and models end the rows they concern, once, and no others."""

import pytest

from provider.engine import Cause, EngineLimits, FinishReason, SlotState, Usage
from provider.engine.core import Cancel
from tests.testbed.byte_model import byte_model
from tests.testbed.engine_core import CoreBench
from tests.testbed.scripted_backend import spell


@pytest.mark.parametrize("moment", ["cancel", "stop string", "timeout", "broken numbers"])
def test_fault_while_a_row_is_removed_ends_every_row_once(moment):
    bench = CoreBench(limits=EngineLimits(decode_timeout=50.0))
    stop = ("c",) if moment == "stop string" else ()
    first, second = bench.submit("z", max_tokens=50, stop=stop), bench.submit("m", max_tokens=50)
    bench.turn(2)
    bench.faults.raise_in = {"remove"}
    match moment:
        case "cancel":
            bench.core.apply(Cancel(1))
            bench.flush()
        case "timeout":
            bench.now += 200
            bench.core.turn()
            bench.flush()
        case "broken numbers":
            bench.faults.broken = True
            bench.turn(20)
        case "stop string":
            bench.turn(4)
    bench.faults.raise_in, bench.faults.broken = set(), False
    bench.turn(3)
    assert first.end is not None
    assert second.end is not None
    if moment == "stop string":
        assert (first.end.reason, first.end.stop_sequence) == (FinishReason.STOP, "c")
    assert bench.slot.running == bench.slot.budget_used == 0
    third = bench.submit("z", max_tokens=2)
    bench.turn(4)
    assert third.end.reason is FinishReason.LENGTH


def test_fault_ends_the_rows_of_its_generator_and_the_next_request_works():
    bench = CoreBench(model=byte_model(context_tokens=100_000))
    short = bench.submit("z", max_tokens=50)
    long = bench.submit("z", max_tokens=50_000)
    bench.turn(3)
    bench.faults.raise_next.append(RuntimeError("prompt text must not leak"))
    bench.turn()
    assert short.cause is Cause.ENGINE_ERROR
    assert "prompt text" not in short.end.failure.text
    assert long.end is None
    assert bench.backends[0].cleared == 1
    again = bench.submit("z", max_tokens=2)
    bench.turn(3)
    assert again.text == "ab"


def test_three_faults_crash_the_slot_and_end_the_waiting_rows():
    bench = CoreBench(limits=EngineLimits(max_concurrent=1))
    for _ in range(3):
        bench.submit(max_tokens=50)
        bench.turn()
        waiting = bench.submit(max_tokens=5)
        bench.faults.raise_next.append(RuntimeError("x"))
        bench.turn()
        if bench.slot.state is not SlotState.CRASHED:
            bench.core.apply(Cancel(bench.number))
            bench.flush()
    assert bench.slot.state is SlotState.CRASHED
    assert waiting.cause is Cause.ENGINE_ERROR
    assert bench.submit().cause is Cause.MODEL_UNAVAILABLE


def test_allocator_fault_halves_the_rows():
    bench = CoreBench()
    bench.submit(max_tokens=50)
    bench.turn()
    bench.faults.raise_next.append(RuntimeError("[malloc] Unable to allocate 1 bytes."))
    bench.turn()
    assert bench.slot.max_concurrency == 4


def test_broken_numbers_end_the_row_only():
    bench = CoreBench()
    bench.faults.broken = True
    sink = bench.submit("z", max_tokens=50)
    bench.turn(2)
    bench.faults.broken = False
    assert sink.cause is Cause.GENERATION_FAILURE
    other = bench.submit("z", max_tokens=2)
    bench.turn(3)
    assert other.text == "ab"


def test_row_that_cannot_be_inserted_ends_alone():
    bench = CoreBench()
    other = bench.submit("z", max_tokens=4)
    bench.turn()
    bench.faults.raise_in.add("insert")
    sink = bench.submit("z", max_tokens=4)
    bench.turn()
    assert sink.cause is Cause.ENGINE_ERROR
    bench.turn(3)
    assert other.text == "abcd"


@pytest.mark.parametrize("moment", ["pause", "insert"])
def test_fault_while_pausing_or_resuming_ends_every_row_once(moment):
    bench = CoreBench()
    slow = bench.submit("z", max_tokens=50, window=4)
    other = bench.submit("z", max_tokens=50)
    if moment == "pause":
        bench.faults.raise_in.add(moment)
    bench.turn(8)
    if moment == "insert":
        assert bench.slot.paused == 1
        bench.faults.raise_in.add(moment)
        slow.window.consumed = 4
        bench.turn()
    bench.faults.raise_in.clear()
    assert slow.cause is other.cause is Cause.ENGINE_ERROR
    assert bench.slot.budget_used == 0
    again = bench.submit("z", max_tokens=2)
    bench.turn(3)
    assert again.text == "ab"


def explode(*_arguments, **_named):
    raise ValueError("CANARY")


def test_cache_that_cannot_be_kept_costs_its_row_nothing(caplog):
    bench = CoreBench()
    bench.faults.raise_in = {"extract"}
    row = bench.submit("z" * 100, max_tokens=3, cache_scope="a", boundaries=(80,))
    bench.turn(6)
    assert (row.text, row.end.reason) == ("abc", FinishReason.LENGTH)
    assert bench.backends[0].generators[0].chunks[:2] == [64, 16]
    assert [record.msg for record in caplog.records] == ["prefix fault"]
    assert bench.core.snapshot.faults == 0


def test_fault_over_one_rows_text_ends_that_row_alone(monkeypatch):
    bench = CoreBench()
    first, second = bench.submit("z"), bench.submit("z", max_tokens=4)
    bench.turn(2)
    (row,) = [row for _, row in bench.core._live.values() if row.sink is first]
    whole = type(row).take

    def take(self, *rest):
        return explode() if self is row else whole(self, *rest)

    monkeypatch.setattr(type(row), "take", take)
    bench.turn(4)
    assert first.cause is Cause.ENGINE_ERROR
    assert second.text == "abcd"
    assert second.end.reason is FinishReason.LENGTH
    assert bench.backends[0].generators[0].rows == 0
    assert bench.slot.state is SlotState.IDLE


def test_terminal_event_comes_even_if_the_held_text_cannot_be_flushed(monkeypatch, caplog):
    bench = CoreBench(spell("Hello"))
    sink = bench.submit()
    bench.turn(3)
    (row,) = [row for _, row in bench.core._live.values()]
    monkeypatch.setattr(type(row), "finish", explode)
    bench.turn(5)
    assert sink.cause is Cause.ENGINE_ERROR
    assert sink.end.usage == Usage(2, 6)
    assert not bench.core._live
    assert "CANARY" not in caplog.text
