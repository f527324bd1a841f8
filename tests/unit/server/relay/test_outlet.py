"""The way out of a stream: direct while the consumer keeps up, queued otherwise, always in order."""

from __future__ import annotations

from random import Random

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from server.answer.writer import ConsumerGone
from server.relay.chunk_queue import Put, QueueBounds
from server.relay.outlet import DIRECT_BYTES, Outlet
from tests.unit.server.relay.relay_world import Consumer


def outlet(abandoned: list[bool] | None = None, **bounds: int) -> Outlet:
    calls = abandoned if abandoned is not None else []
    return Outlet(
        QueueBounds(**bounds),
        keep_alive_seconds=15,
        on_abandoned=lambda: calls.append(True),
        on_spout=lambda _spout: None,
    )


async def test_bytes_before_the_head_wait_and_later_ones_go_straight_out(
    autojump_clock: trio.testing.MockClock,
) -> None:
    abandoned: list[bool] = []
    out, consumer = outlet(abandoned), Consumer()
    out.put(b"early ", 1, trio.current_time())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(out.pump, consumer)
        await wait_all_tasks_blocked()
        assert consumer.data == b"early "
        out.put(b"direct ", 1, trio.current_time())
        assert consumer.data == b"early direct "
        assert consumer.sync_writes == 2
        out.finish(b"end")
    assert consumer.data == b"early direct end"
    assert abandoned == []


async def test_a_partial_write_switches_to_the_task_until_drained(autojump_clock: trio.testing.MockClock) -> None:
    out, consumer = outlet(), Consumer()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(out.pump, consumer)
        await wait_all_tasks_blocked()
        consumer.hold()
        out.put(b"a", 1, 0.0)
        await wait_all_tasks_blocked()
        out.put(b"b", 1, 0.0)
        out.put(b"c", 1, 0.0)
        assert consumer.data == b""
        consumer.resume()
        await wait_all_tasks_blocked()
        assert consumer.data == b"abc"
        out.put(b"d", 1, 0.0)
        assert consumer.data == b"abcd"
        out.finish(b"")


async def test_an_indirect_writer_gets_everything_from_the_task(autojump_clock: trio.testing.MockClock) -> None:
    out, consumer = outlet(), Consumer(direct=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(out.pump, consumer)
        await wait_all_tasks_blocked()
        out.put(b"a", 1, 0.0)
        out.put(b"b", 1, 0.0)
        assert consumer.data == b""
        out.finish(b"c")
    assert consumer.data == b"abc"
    assert consumer.sync_writes == 0


async def test_a_huge_put_goes_out_in_slices(autojump_clock: trio.testing.MockClock) -> None:
    out, consumer = outlet(), Consumer()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(out.pump, consumer)
        await wait_all_tasks_blocked()
        assert out.put(b"x" * (DIRECT_BYTES + 1), 1, 0.0) is Put.QUEUED
        out.put(b"y", 1, 0.0)
        out.finish(b"z")
    assert consumer.data == b"x" * (DIRECT_BYTES + 1) + b"yz"


async def test_all_that_waits_goes_out_in_one_turn(autojump_clock: trio.testing.MockClock) -> None:
    out, consumer = outlet(), Consumer()
    events = [b"%05d" % number + b"x" * 200 for number in range(2000)]
    assert {out.put(event, 1, 0.0) for event in events} == {Put.QUEUED}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(out.pump, consumer)
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()  # two turns of the scheduler: the pump had one for certain
        assert consumer.data == b"".join(events)
        out.finish(b"")


async def test_keep_alive_after_fifteen_silent_seconds_only(autojump_clock: trio.testing.MockClock) -> None:
    out, consumer = outlet(), Consumer()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(out.pump, consumer)
        await trio.sleep(14)
        out.put(b"data", 1, trio.current_time())
        await trio.sleep(14)
        assert consumer.data == b"data"
        await trio.sleep(2)
        assert consumer.data == b"data: keep-alive\n\n"
        await trio.sleep(15)
        assert consumer.data.count(b"keep-alive") == 2
        out.finish(b"")


async def test_a_consumer_that_leaves_is_reported_once_and_gets_no_more(
    autojump_clock: trio.testing.MockClock,
) -> None:
    abandoned: list[bool] = []
    out, consumer = outlet(abandoned), Consumer()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(out.pump, consumer)
            await wait_all_tasks_blocked()
            scope.cancel()
    assert abandoned == [True]
    assert out.put(b"late", 1, 0.0) is Put.QUEUED
    out.finish(b"end")
    assert consumer.data == b""


async def test_a_writer_that_lost_its_consumer_ends_the_pump(autojump_clock: trio.testing.MockClock) -> None:
    abandoned: list[bool] = []
    out, consumer = outlet(abandoned), Consumer()

    async def read() -> None:
        with pytest.raises(ConsumerGone):
            await out.pump(consumer)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        consumer.closed = True
        out.put(b"x", 1, 0.0)
    assert abandoned == [True]


@pytest.mark.parametrize("seed", range(40))
async def test_random_schedules_keep_every_byte_in_order(seed: int, autojump_clock: trio.testing.MockClock) -> None:
    random = Random(seed)
    out, consumer = outlet(chunks=10_000), Consumer(direct=seed % 2 == 0)
    expected = b""
    async with trio.open_nursery() as nursery:
        if seed % 3:
            nursery.start_soon(out.pump, consumer)
        for number in range(60):
            match random.randrange(5):
                case 0:
                    consumer.hold()
                case 1:
                    consumer.resume()
                case 2:
                    await wait_all_tasks_blocked()
                case _:
                    data = b"%d," % number
                    expected += data
                    assert out.put(data, 1, trio.current_time()) is Put.QUEUED
        consumer.resume()
        out.finish(b"end")
        if not seed % 3:
            nursery.start_soon(out.pump, consumer)
    assert bytes(consumer.data).replace(b": keep-alive\n\n", b"") == expected + b"end"
