"""Requests that end early: cancels, drains, lost connections, and readers that stop reading."""

import threading

import trio

from protocol.messages.from_provider import InferenceComplete
from protocol.response_hash import ResponseHasher
from provider.engine import EngineLimits
from provider.link.outbox import REQUEST_FRAMES, Outbox
from tests.testbed.fake_engine import Script
from tests.testbed.sealed_asker import chat


def scripted(**fields):
    return lambda request: Script() if request.warm_up else Script(**fields)


async def test_a_cancel_before_output_is_499(open_bench, autojump_clock):
    async with open_bench(scripted(delay=10)) as bench:
        bench.send("r1", chat())
        await bench.submitted()
        await trio.sleep(3)
        bench.desk.cancel("r1")
        await bench.desk.wait_idle()
        assert trio.current_time() == 3
        heard = bench.heard()
        assert heard.kinds == ["error"]
        assert (heard.terminal.status_code, heard.terminal.terminal_cause) == (499, "cancelled")
        assert bench.counters.cancellations_before_output == 1
        assert bench.engine.live == 0


async def test_a_cancel_after_output_settles_what_was_used(open_bench, autojump_clock):
    async with open_bench(scripted(pieces=("x",) * 2000, delay=1)) as bench:
        bench.send("r1", chat(max_tokens=2000))
        await bench.submitted()
        await trio.sleep(10.5)
        bench.desk.cancel("r1")
        bench.desk.cancel("r1")
        await bench.desk.wait_idle()
        heard = bench.heard()
        assert isinstance(heard.terminal, InferenceComplete)
        assert 10 <= heard.terminal.usage.completion_tokens <= 12
        assert heard.text == "x" * 10
        assert bench.counters.cancellations_partial_complete == 1
        assert bench.engine.live == 0


async def test_a_cancel_in_the_turn_of_receipt_is_499(open_bench):
    async with open_bench() as bench:
        bench.send("r1", chat())
        bench.desk.cancel("r1")
        await bench.desk.wait_idle()
        assert bench.heard().terminal.status_code == 499
        assert bench.engine.requests == []


async def test_a_cancel_during_a_load_is_499_and_the_load_goes_on(open_bench):
    begun, go = trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()

    def slow(source):
        from tests.testbed.byte_model import byte_model

        token.run_sync_soon(begun.set)
        go.wait(5)
        return byte_model(source.model_id)

    async with open_bench(load=slow, resident=False) as bench:
        bench.send("r1", chat())
        await begun.wait()
        bench.desk.cancel("r1")
        await bench.desk.wait_idle()
        heard = bench.heard()
        assert heard.kinds == ["accepted", "error"]
        assert heard.terminal.status_code == 499
        assert bench.counters.cancel_during_model_load == 1
        go.set()
        assert (await bench.ask(chat(), "r2")).text == "Hello"


async def test_a_cancel_of_an_unknown_id_is_counted_only(open_bench):
    async with open_bench() as bench:
        bench.desk.cancel("nobody")
        await bench.ask(chat())
        bench.desk.cancel("r1")
        assert bench.counters.cancels_unknown == 2
        assert len(bench.heard().terminals) == 1


async def test_draining_refuses_new_requests_and_finishes_old_ones(open_bench, autojump_clock):
    async with open_bench(scripted(delay=1)) as bench:
        bench.send("old", chat())
        await bench.submitted()
        bench.desk.close_admission()
        bench.send("new", chat())
        refused = bench.heard("new").terminal
        assert (refused.status_code, refused.error_reason) == (503, "draining")
        await bench.desk.wait_idle()
        assert bench.heard("old").text == "Hello"


async def test_a_drain_that_begins_while_a_body_is_opened_refuses_it(open_bench):
    async with open_bench() as bench:
        bench.send("r1", chat("x" * 100_000))
        await trio.lowlevel.checkpoint()
        bench.desk.close_admission()
        await bench.desk.wait_idle()
        assert bench.heard().terminal.error_reason == "draining"
        assert bench.desk.in_flight == 0


async def test_a_lost_connection_ends_its_requests_silently(open_bench, autojump_clock):
    one, two = object(), object()
    async with open_bench(scripted(pieces=("x",) * 10, delay=1)) as bench:
        bench.send("r1", chat(), owner=one)
        bench.send("r2", chat(), owner=two)
        await bench.submitted(2)
        await trio.sleep(2.5)
        bench.desk.drop_lane(one)
        await bench.desk.wait_idle()
        assert bench.heard("r1").terminals == []
        assert bench.heard("r2").text == "x" * 10
        assert bench.counters.stream_closed_without_terminal == 1
        assert bench.engine.live == 0


async def test_nobody_reads_so_the_engine_is_paused(open_bench, autojump_clock):
    limits = EngineLimits(window_events=32, backpressure_timeout=10_000)
    async with open_bench(scripted(pieces=[f"{n};" for n in range(1000)]), limits=limits) as bench:
        outbox = Outbox()
        lane = outbox.lane(None)
        bench.desk.accept(bench.asker.request("r1", chat(max_tokens=1000)), lane)
        await bench.submitted()
        await trio.sleep(1)
        assert lane.queued == REQUEST_FRAMES
        row = next(iter(bench.engine._live.values()))[0]
        assert row.window.posted <= REQUEST_FRAMES + 2 * 32
        frames = []
        while bench.desk.live:
            with trio.move_on_after(1):
                frames += await outbox.take()
        with trio.move_on_after(1):
            while True:
                frames += await outbox.take()
        heard = bench.asker.hear(frames)["r1"]
        assert heard.text == "".join(f"{n};" for n in range(1000))
        assert isinstance(heard.terminal, InferenceComplete)


async def test_a_cancel_is_heard_while_nobody_reads(open_bench, autojump_clock):
    async with open_bench(scripted(pieces=("x",) * 2000), limits=EngineLimits(window_events=16)) as bench:
        outbox = Outbox()
        lane = outbox.lane(None)
        bench.desk.accept(bench.asker.request("r1", chat()), lane)
        await bench.submitted()
        with trio.fail_after(60):
            while lane.queued < REQUEST_FRAMES:
                await trio.sleep(0.01)
        await trio.testing.wait_all_tasks_blocked()
        assert bench.desk.live == 1
        bench.desk.cancel("r1")
        with trio.fail_after(1):
            await bench.desk.wait_idle()
        assert bench.engine.live == 0
        assert lane.queued <= REQUEST_FRAMES + 2
        while outbox.unsent_requests:
            bench.frames += await outbox.take()
        heard = bench.heard()
        assert heard.terminal.TYPE == "inference_complete"
        assert set(heard.text) == {"x"}
        hasher = ResponseHasher("r1")
        hasher.add_text(heard.text)
        assert heard.terminal.response_hash == hasher.finish(heard.terminal.usage.completion_tokens)
