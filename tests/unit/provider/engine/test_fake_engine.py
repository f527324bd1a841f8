"""The scripted engine keeps the promises that the real one makes."""

import pytest
import trio

from provider.engine import Cause, Delta, EngineLimits, Finished, FinishReason, GenerationRequest, Usage
from tests.testbed.byte_model import byte_model
from tests.testbed.fake_engine import FakeEngine, Script, finished_with


def ask(**fields):
    return GenerationRequest(model="bytes", prompt_tokens=(1, 2, 3), **fields)


@pytest.fixture
async def engine():
    async with FakeEngine.open(limits=EngineLimits(window_events=8)) as engine:
        await engine.attach_model(byte_model())
        yield engine


async def events_of(generation):
    return [event async for event in generation]


async def test_script_is_played(engine, autojump_clock):
    events = await events_of(engine.submit(ask()))
    assert events == [Delta("Hel", 1), Delta("lo", 1), Finished(FinishReason.STOP, Usage(3, 3))]
    assert engine.live == 0


async def test_max_tokens_is_honoured(engine, autojump_clock):
    assert (await events_of(engine.submit(ask(max_tokens=1))))[-1] == Finished(FinishReason.LENGTH, Usage(3, 1))


async def test_cancel_ends_between_pieces(engine, autojump_clock):
    engine._script = lambda _: Script(pieces="x" * 10, delay=1)
    generation = engine.submit(ask())
    await trio.sleep(2.5)
    generation.cancel()
    assert (await events_of(generation))[-1] == Finished(FinishReason.CANCELLED, Usage(3, 2))


async def test_cancel_before_the_first_step(engine, autojump_clock):
    generation = engine.submit(ask())
    generation.cancel()
    assert await events_of(generation) == [Finished(FinishReason.CANCELLED, Usage(3, 0))]


async def test_unread_generation_pauses_and_times_out(engine, autojump_clock):
    engine._script = lambda _: Script(pieces="x" * 100)
    generation = engine.submit(ask())
    await trio.sleep(119)
    assert generation.window.posted == 8
    assert generation.finished is None
    await trio.sleep(2)
    assert (await events_of(generation))[-1].failure.cause is Cause.BACKPRESSURE_TIMEOUT


async def test_read_generation_is_complete(engine, autojump_clock):
    engine._script = lambda _: Script(pieces="x" * 100)
    generation = engine.submit(ask())
    await trio.sleep(1)
    assert len(await events_of(generation)) == 101


async def test_engine_death_ends_everything(engine, autojump_clock):
    engine._script = lambda _: Script(delay=5)
    generations = [engine.submit(ask()) for _ in range(3)]
    await trio.sleep(1)
    engine.fail_all()
    for generation in generations:
        assert (await events_of(generation))[-1].failure.cause is Cause.ENGINE_ERROR


async def test_failures_and_refusals(engine, autojump_clock):
    engine._script = lambda _: finished_with(Cause.QUEUE_FULL)
    assert (await events_of(engine.submit(ask())))[-1].failure.cause is Cause.QUEUE_FULL
    engine.set_admission(is_open=False)
    assert (await events_of(engine.submit(ask())))[-1].failure.cause is Cause.CAPACITY_BUSY
    await engine.detach_model("bytes")
    assert (await events_of(engine.submit(ask())))[-1].failure.cause is Cause.MODEL_UNAVAILABLE


async def test_change_is_announced(engine, autojump_clock):
    seen = engine.snapshot().change
    generation = engine.submit(ask())
    snapshot = await engine.wait_change(seen)
    assert snapshot.slots[0].running == 1
    await events_of(generation)
    assert (await engine.wait_change(snapshot.change)).slots[0].running == 0
