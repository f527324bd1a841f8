"""The trio side with a real engine thread and a scripted backend."""

import threading

import pytest
import trio
import trio.testing

from provider.engine import (
    Cause,
    Delta,
    EngineFront,
    EngineLimits,
    EngineLost,
    Finished,
    FinishReason,
    GenerationEnded,
    GenerationRequest,
    Health,
    SlotState,
    Usage,
)
from tests.testbed.byte_model import byte_model
from tests.testbed.scripted_backend import Faults, ScriptedBackend, count_up

ASK = GenerationRequest(model="bytes", prompt_tokens=(ord("z"),), max_tokens=5)
LONG = GenerationRequest(model="bytes", prompt_tokens=(ord("z"),), max_tokens=4000)


class _LoopEnd(BaseException):
    """Not an `Exception`, so the slot does not handle it and it leaves the loop."""


class Rig:
    def __init__(self):
        self.faults = Faults()
        self.backends = []
        self.fatal = []

    def open(self, **limits):
        return EngineFront.open(
            headroom=lambda: 10**9,
            limits=EngineLimits(**limits),
            make_backend=self.make_backend,
            on_fatal=self.fatal.append,
        )

    def make_backend(self, model):
        self.backends.append(ScriptedBackend(model, count_up, self.faults))
        return self.backends[-1]


@pytest.fixture
def rig():
    return Rig()


async def read(generation):
    with trio.fail_after(5):
        return [event async for event in generation]


def text_of(events):
    return "".join(event.text for event in events if isinstance(event, Delta))


async def settled(engine):
    """Wait until the engine's own view has no rows."""
    with trio.fail_after(5):
        snapshot = engine.snapshot()
        while any(slot.running or slot.waiting for slot in snapshot.slots):
            snapshot = await engine.wait_change(snapshot.change)
    return snapshot


async def test_request_streams_and_ends_once(rig):
    async with rig.open() as engine:
        await engine.attach_model(byte_model())
        generation = engine.submit(ASK)
        events = await read(generation)
        assert text_of(events) == "abcde"
        assert (events[-1].reason, events[-1].usage) == (FinishReason.LENGTH, Usage(1, 5))
        assert sum(isinstance(event, Finished) for event in events) == 1
        with pytest.raises(GenerationEnded):
            await generation.receive()


async def test_receive_batch_returns_what_is_ready(rig):
    async with rig.open() as engine:
        await engine.attach_model(byte_model())
        generation = engine.submit(ASK)
        batches = []
        with trio.fail_after(5):
            while generation.finished is None or not batches or batches[-1][-1] is not generation.finished:
                batches.append(await generation.receive_batch())
        assert text_of([event for batch in batches for event in batch]) == "abcde"
        assert all(batches)


async def test_twenty_four_streams_run_together(rig):
    async with rig.open(max_concurrent=24) as engine:
        await engine.attach_model(byte_model())
        results = []

        async def one():
            results.append(await read(engine.submit(ASK)))

        async with trio.open_nursery() as nursery:
            for _ in range(40):
                nursery.start_soon(one)
        assert [text_of(events) for events in results] == ["abcde"] * 40


async def test_cancel_gives_the_usage_so_far(rig):
    async with rig.open() as engine:
        await engine.attach_model(byte_model())
        generation = engine.submit(LONG)
        first = await generation.receive()
        generation.cancel()
        events = [first, *await read(generation)]
        assert events[-1].reason is FinishReason.CANCELLED
        assert events[-1].usage.completion_tokens == len(events) - 1


async def test_leaving_the_block_cancels_and_frees_the_row(rig):
    async with rig.open() as engine:
        await engine.attach_model(byte_model())
        async with engine.submit(LONG) as generation:
            await generation.receive()
        snapshot = await settled(engine)
        assert snapshot.slots[0].budget_used == 0
        assert rig.backends[0].generators[0].rows == 0


async def test_cancelled_reader_loses_nothing(rig):
    async with rig.open() as engine:
        await engine.attach_model(byte_model())
        rig.faults.hold = threading.Event()
        generation = engine.submit(ASK)
        with trio.move_on_after(0.01) as scope:
            await generation.receive()
        assert scope.cancelled_caught
        rig.faults.hold.set()
        assert text_of(await read(generation)) == "abcde"


async def test_second_reader_is_refused(rig):
    async with rig.open() as engine:
        await engine.attach_model(byte_model())
        rig.faults.hold = threading.Event()
        generation = engine.submit(ASK)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, generation)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await generation.receive()
            rig.faults.hold.set()


async def test_unread_stream_is_bounded_and_then_complete(rig):
    async with rig.open(window_events=8) as engine:
        await engine.attach_model(byte_model())
        generation = engine.submit(LONG)
        with trio.fail_after(5):
            while not engine.snapshot().slots[0].paused:
                await trio.sleep(0.001)
        assert generation.window.posted == 8
        events = await read(generation)
        assert len(events) == 4001
        assert (events[-1].reason, events[-1].usage) == (FinishReason.LENGTH, Usage(1, 4000))


async def test_unread_stream_ends_after_the_backpressure_timeout(rig):
    async with rig.open(window_events=8, backpressure_timeout=0.05, sweep_interval=0.01) as engine:
        await engine.attach_model(byte_model())
        generation = engine.submit(LONG)
        with trio.fail_after(5):
            while generation.finished is None:
                await trio.sleep(0.001)
        events = await read(generation)
        assert len(events) == 9
        assert events[-1].failure.cause is Cause.BACKPRESSURE_TIMEOUT
        assert events[-1].usage == Usage(1, 8)


async def test_generator_fault_ends_its_rows_and_the_next_request_works(rig):
    async with rig.open() as engine:
        await engine.attach_model(byte_model())
        rig.faults.raise_next.append(RuntimeError("x"))
        events = await read(engine.submit(ASK))
        assert events[-1].failure.cause is Cause.ENGINE_ERROR
        assert text_of(await read(engine.submit(ASK))) == "abcde"


async def test_dead_thread_ends_everything_and_is_started_again_with_its_models(rig):
    async with rig.open() as engine:
        await engine.attach_model(byte_model())
        generations = [engine.submit(LONG) for _ in range(3)]
        await generations[0].receive()
        rig.faults.raise_next.append(_LoopEnd())
        for generation in generations:
            events = await read(generation)
            assert events[-1].failure.cause is Cause.ENGINE_ERROR
        assert text_of(await read(engine.submit(ASK))) == "abcde"
        assert rig.fatal == []


async def test_thread_that_dies_twice_is_fatal(rig):
    async with rig.open() as engine:
        await engine.attach_model(byte_model())
        for _ in range(2):
            rig.faults.raise_next.append(_LoopEnd())
            assert (await read(engine.submit(ASK)))[-1].failure.cause is Cause.ENGINE_ERROR
        with trio.fail_after(5):
            while engine.health is not Health.FATAL:
                await trio.sleep(0.001)
        assert rig.fatal == ["the engine thread died twice"]
        refused = (await read(engine.submit(ASK)))[-1]
        assert refused.reason is FinishReason.ERROR
        with pytest.raises(EngineLost):
            await engine.attach_model(byte_model("other"))
        assert engine.snapshot().slots[0].state is SlotState.CRASHED


async def test_stuck_step_ends_requests_and_is_fatal_in_the_end(rig):
    limits = {"wedge_suspected_after": 0.2, "wedge_crashed_after": 0.4, "wedge_fatal_after": 0.8}
    async with rig.open(**limits) as engine:
        await engine.attach_model(byte_model())
        rig.faults.hold = threading.Event()
        generation = engine.submit(ASK)
        events = await read(generation)
        assert events[-1].failure.cause is Cause.WATCHDOG
        assert engine.health in (Health.CRASHED, Health.FATAL)
        assert engine.snapshot().slots[0].state is SlotState.CRASHED
        assert (await read(engine.submit(ASK)))[-1].failure.cause is Cause.WATCHDOG
        with trio.fail_after(5):
            while not rig.fatal:
                await trio.sleep(0.01)
        rig.faults.hold.set()
    assert rig.fatal == ["one engine step took too long"]


async def test_engine_that_moves_again_forgets_the_failed_requests_and_serves_new_ones(rig):
    async with rig.open(wedge_suspected_after=0.1, wedge_crashed_after=0.2) as engine:
        await engine.attach_model(byte_model())
        rig.faults.hold = hold = threading.Event()
        assert (await read(engine.submit(LONG)))[-1].failure.cause is Cause.WATCHDOG
        rig.faults.hold = None
        hold.set()
        with trio.fail_after(5):
            while engine.health is not Health.GOOD:
                await trio.sleep(0.01)
        await settled(engine)
        assert text_of(await read(engine.submit(ASK))) == "abcde"


async def test_leaving_the_engine_ends_live_requests(rig):
    async with rig.open() as engine:
        await engine.attach_model(byte_model())
        generation = engine.submit(LONG)
        await generation.receive()
    assert (await read(generation))[-1].failure.cause is Cause.ENGINE_ERROR
    assert threading.active_count() < 10


async def test_attach_reports_what_the_backend_raises(rig):
    def broken(model):
        raise RuntimeError("no such layer")

    async with EngineFront.open(headroom=lambda: 1, make_backend=broken, on_fatal=rig.fatal.append) as engine:
        with pytest.raises(RuntimeError, match="no such layer"):
            await engine.attach_model(byte_model())


async def test_detach_waits_for_running_requests(rig):
    async with rig.open() as engine:
        await engine.attach_model(byte_model())
        generation = engine.submit(ASK)
        await engine.detach_model("bytes")
        assert text_of(await read(generation)) == "abcde"
        assert engine.snapshot().slots == ()
        assert (await read(engine.submit(ASK)))[-1].failure.cause is Cause.MODEL_UNAVAILABLE
        await engine.detach_model("bytes")


async def test_cancel_storm_leaves_nothing_behind(rig):
    async with rig.open(max_concurrent=8, window_events=16) as engine:
        await engine.attach_model(byte_model())
        ends = []

        async def one(number):
            generation = engine.submit(
                GenerationRequest(model="bytes", prompt_tokens=(122,), max_tokens=3 + number % 40)
            )
            for _ in range(number % 7):
                try:
                    await generation.receive()
                except GenerationEnded:
                    return
            if number % 3 == 0:
                generation.cancel()
            if number % 5 == 0:
                generation.close()
                return
            ends.append((await read(generation))[-1])

        async with trio.open_nursery() as nursery:
            for number in range(60):
                nursery.start_soon(one, number)
        snapshot = await settled(engine)
        assert snapshot.slots[0].budget_used == 0
        assert all(isinstance(end, Finished) for end in ends)
        assert sum(generator.rows for backend in rig.backends for generator in backend.generators) == 0


async def test_step_that_is_stuck_while_the_engine_stops_is_fatal_all_the_same(rig):
    limits = {"wedge_suspected_after": 0.1, "wedge_crashed_after": 0.2, "wedge_fatal_after": 0.3}
    rig.faults.hold = hold = threading.Event()

    def on_fatal(reason):
        rig.fatal.append(reason)
        hold.set()

    rescue = threading.Timer(8, hold.set)
    rescue.start()
    async with EngineFront.open(
        headroom=lambda: 10**9, limits=EngineLimits(**limits), make_backend=rig.make_backend, on_fatal=on_fatal
    ) as engine:
        rig.faults.hold = None
        await engine.attach_model(byte_model())
        rig.faults.hold = hold
        engine.submit(LONG)
        with trio.fail_after(5):
            while not rig.faults.held.is_set():
                await trio.sleep(0.001)
    rescue.cancel()
    assert rig.fatal == ["one engine step took too long"]


async def test_engine_that_was_closed_stays_closed_when_its_thread_is_started_again(rig):
    async with rig.open() as engine:
        await engine.attach_model(byte_model())
        engine.set_admission(is_open=False)
        rig.faults.raise_next.append(_LoopEnd())
        warm_up = GenerationRequest(model="bytes", prompt_tokens=(ord("z"),), max_tokens=5, warm_up=True)
        assert (await read(engine.submit(warm_up)))[-1].failure.cause is Cause.ENGINE_ERROR
        with trio.fail_after(5):
            while not engine.snapshot().slots or engine.snapshot().slots[0].state is not SlotState.IDLE:
                await trio.sleep(0.001)
        assert (await read(engine.submit(ASK)))[-1].failure.cause is Cause.CAPACITY_BUSY
        engine.set_admission(is_open=True)
        assert text_of(await read(engine.submit(ASK))) == "abcde"


async def test_change_never_stands_for_two_different_views(rig):
    async with rig.open(wedge_suspected_after=0.1, wedge_crashed_after=0.2) as engine:
        await engine.attach_model(byte_model())
        rig.faults.hold = hold = threading.Event()
        seen = {}

        def look():
            snapshot = engine.snapshot()
            view = tuple(slot.state is SlotState.CRASHED for slot in snapshot.slots)
            assert seen.setdefault(snapshot.change, view) == view
            return snapshot

        look()
        assert (await read(engine.submit(LONG)))[-1].failure.cause is Cause.WATCHDOG
        stuck = look()
        assert stuck.slots[0].state is SlotState.CRASHED
        rig.faults.hold = None
        hold.set()
        with trio.fail_after(5):
            while engine.health is not Health.GOOD:
                look()
                await trio.sleep(0.001)
            while (await engine.wait_change(stuck.change)).slots[0].state is SlotState.CRASHED:
                stuck = look()
        assert look().change > stuck.change
        await settled(engine)
        look()


async def test_fault_while_events_are_handed_out_ends_the_requests_and_not_the_process(rig, monkeypatch, caplog):
    async with rig.open() as engine:
        await engine.attach_model(byte_model())
        broken, other = engine.submit(LONG), engine.submit(LONG)
        with trio.fail_after(5):
            await broken.receive()

        def explode(_event):
            monkeypatch.undo()
            raise ValueError("CANARY")

        monkeypatch.setattr(broken, "push", explode)
        for generation in (broken, other):
            assert (await read(generation))[-1].failure.cause is Cause.ENGINE_ERROR
        await settled(engine)
        assert text_of(await read(engine.submit(ASK))) == "abcde"
    assert "CANARY" not in caplog.text
    assert [record.msg for record in caplog.records] == ["engine events lost"]
