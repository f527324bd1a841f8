"""The whole way of a stream with real sockets: pump, spout, outlet and writer together give one valid chunked body."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from native.shapes import EV_MESSAGE, EV_OPENED, EV_RUN, EV_STUCK
from server.answer import ConsumerGone, DirectWriter
from server.relay.chunk_queue import Put, QueueBounds
from server.relay.outlet import DIRECT_BYTES, Outlet
from tests.unit.native.chunk_frames import IMPLEMENTATIONS, KEY, PEER, TEMPLATE, chunk, delta, sealed, spliced, text
from tests.unit.server.answer.chunked_body import TinySocket, decode_chunked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from types import ModuleType

BOUNDS = QueueBounds(chunks=100_000, bytes=1 << 30)


class Stream:
    """One attempt: its pump, its outlet, its consumer's socket; `feed` does what the link's reader does."""

    def __init__(self, module: ModuleType) -> None:
        self.near, self.far = socket.socketpair()
        self.far.setblocking(False)
        self.abandoned = 0
        self.sock = TinySocket(self.near)
        self.spout = module.Spout(self.near.fileno())
        self.writer = DirectWriter(self.sock, deadline_seconds=5, spout=self.spout)
        self.pump = module.Pump(max_message_bytes=1 << 20)
        self.pump.set_peer_key(PEER)
        self.pump.attach("a", KEY, "owner")
        self.pump.set_template("a", TEMPLATE)
        self.outlet = Outlet(
            BOUNDS,
            keep_alive_seconds=1e9,
            on_abandoned=self._note_abandoned,
            on_spout=lambda spout: self.pump.set_spout("a", spout),
        )
        self.up = 0
        self.wire = bytearray()

    def _note_abandoned(self) -> None:
        self.abandoned += 1

    def feed(self, frames: bytes, *, late: bool = False) -> list[Any]:
        """Feed bytes and handle the events; with `late` leave that to the caller."""
        events = self.pump.feed(frames, trio.current_time())
        if not late:
            self.handle(events)
        return events

    def handle(self, events: list[Any]) -> None:
        for kind, _owner, payload, a, b in events:
            if kind == EV_RUN:
                self.up += 1
                assert self.outlet.run(payload, a, b, trio.current_time()) is Put.QUEUED
            elif kind == EV_OPENED:
                assert self.outlet.put(payload, 1, trio.current_time()) is Put.QUEUED
            elif kind == EV_STUCK:
                self.outlet.stuck()
            else:
                assert kind == EV_MESSAGE

    def read(self, limit: int) -> int:
        """Let the consumer read at most so many bytes."""
        try:
            data = self.far.recv(limit)
        except BlockingIOError:
            return 0
        self.wire += data
        return len(data)

    async def read_all(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self.far)
            if not self.read(65536):
                return


@contextmanager
def stream(module: ModuleType) -> Iterator[Stream]:
    made = Stream(module)
    try:
        yield made
    finally:
        made.writer.close()
        made.near.close()
        made.far.close()


_WORDS = st.sampled_from([b"Hi", b" there", b"y" * 900, b"z" * 4_000, b"z" * 4_000])
_LONG_WORDS = st.sampled_from([b"w" * 17_000, b"W" * (DIRECT_BYTES + 1)])
_STEP = st.one_of(
    st.tuples(st.just("feed"), st.lists(st.tuples(st.sampled_from("rrrrom"), _WORDS), min_size=1, max_size=6)),
    st.tuples(st.just("late"), st.lists(st.tuples(st.sampled_from("rrro"), _WORDS), min_size=1, max_size=6)),
    st.tuples(st.just("read"), st.sampled_from([1, 700, 5_000, 65_536])),
    st.tuples(st.just("feed"), st.lists(st.tuples(st.sampled_from("ro"), _WORDS), min_size=1, max_size=1)),
    st.tuples(st.just("yield"), st.integers(1, 3)),
    st.tuples(st.just("put"), _WORDS | _LONG_WORDS),
    st.tuples(st.just("settle"), st.none()),
)


async def _play(module: ModuleType, steps: list[tuple[str, Any]], *, pump_late: bool) -> None:
    expected = bytearray()
    deltas = 0
    with stream(module) as one:

        def frames(items: list[tuple[str, bytes]]) -> bytes:
            nonlocal deltas
            out = bytearray()
            for what, word in items:
                if what == "r":
                    out += text(chunk("a", sealed(delta(word))))
                    expected.extend(spliced(word))
                    deltas += 1
                elif what == "o":
                    out += text(chunk("a", sealed(b"data: " + word + b"\n\n")))
                    expected.extend(b"data: " + word + b"\n\n")
                else:
                    out += text(b'{"type":"heartbeat"}')
            return bytes(out)

        async def consume() -> None:
            await one.outlet.pump(one.writer)
            await one.writer.drain()
            one.writer.close()
            one.near.shutdown(socket.SHUT_WR)

        async with trio.open_nursery() as nursery:
            if not pump_late:
                nursery.start_soon(consume)
                await wait_all_tasks_blocked()
            for what, value in steps:
                if what == "feed":
                    one.feed(frames(value))
                elif what == "late":
                    # Other tasks run between the feed and its events, as between the batches of a reader.
                    events = one.feed(frames(value), late=True)
                    await trio.lowlevel.checkpoint()
                    one.handle(events)
                elif what == "read":
                    one.read(value)
                elif what == "put":
                    one.outlet.put(value, 1, trio.current_time())
                    expected.extend(value)
                elif what == "settle":
                    while one.read(1 << 20):
                        await trio.lowlevel.checkpoint()
                        await trio.lowlevel.checkpoint()
                else:
                    for _ in range(value):
                        await trio.lowlevel.checkpoint()
            one.outlet.finish(b"end")
            expected.extend(b"end")
            if pump_late:
                nursery.start_soon(consume)
            nursery.start_soon(one.read_all)
        assert one.outlet.run_deltas == deltas
        assert one.writer.bytes_written == len(one.wire)
        assert one.abandoned == 0
    assert decode_chunked(bytes(one.wire)) == expected


@pytest.mark.parametrize("module", IMPLEMENTATIONS, ids=lambda module: module.__name__)
@settings(max_examples=settings().max_examples * 3)
@given(steps=st.lists(_STEP, max_size=25), pump_late=st.booleans())
def test_any_interleaving_is_one_valid_body(module: ModuleType, steps: list[tuple[str, Any]], pump_late: bool) -> None:
    async def main() -> None:
        await _play(module, steps, pump_late=pump_late)

    trio.run(main)


@pytest.fixture(params=IMPLEMENTATIONS, ids=lambda module: module.__name__)
async def one(request: pytest.FixtureRequest) -> AsyncIterator[Stream]:
    with stream(request.param) as made:
        yield made


def said(word: bytes) -> bytes:
    return text(chunk("a", sealed(delta(word))))


async def test_a_consumer_that_keeps_up_costs_no_event(one: Stream) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.outlet.pump, one.writer)
        await wait_all_tasks_blocked()
        for _ in range(10):
            assert one.feed(said(b"Hi") + said(b" there")) == []
            one.read(1 << 20)
        assert decode_chunked(bytes(one.wire)) == (spliced(b"Hi") + spliced(b" there")) * 10
        assert one.outlet.run_deltas == 20
        assert one.outlet.run_text_bytes == 80
        assert one.outlet.written_at > 0
        one.outlet.finish(b"")


async def test_the_pump_writes_again_after_a_run_of_several_chunks(one: Stream) -> None:
    one.near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.outlet.pump, one.writer)
        await wait_all_tasks_blocked()
        assert [event[0] for event in one.feed(said(b"w" * 17_000))] == [EV_RUN]
        assert one.writer.idle, "the kernel took all of it"
        await wait_all_tasks_blocked()
        assert one.feed(said(b"Hi")) == []
        one.outlet.put(b"p" * 17_000, 1, trio.current_time())
        assert one.writer.idle
        await wait_all_tasks_blocked()
        assert one.feed(said(b"Ho")) == []
        one.outlet.finish(b"")
    one.read(1 << 20)
    assert decode_chunked(bytes(one.wire)) == spliced(b"w" * 17_000) + spliced(b"Hi") + b"p" * 17_000 + spliced(b"Ho")


async def test_before_the_head_and_after_a_stop_everything_goes_up(one: Stream) -> None:
    one.feed(said(b"1"))
    assert one.up == 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.outlet.pump, one.writer)
        await wait_all_tasks_blocked()
        one.feed(said(b"2"))
        assert one.up == 1
        one.outlet.stop()
        one.feed(said(b"3"))
        assert one.up == 2
        one.outlet.stuck()  # gives the consumer's task a turn
        await wait_all_tasks_blocked()
        one.feed(said(b"4"))
        assert one.up == 3
        one.outlet.finish(b"")
    one.read(1 << 20)
    assert decode_chunked(bytes(one.wire)) == b"".join(map(spliced, [b"1", b"2", b"3", b"4"]))


async def test_nothing_overtakes_what_waits_in_the_queue(one: Stream) -> None:
    huge = b"h" * (DIRECT_BYTES + 1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.outlet.pump, one.writer)
        await wait_all_tasks_blocked()
        one.outlet.put(huge, 1, 0.0)
        one.feed(said(b"behind"))
        assert one.up == 1
        one.outlet.finish(b"end")
        assert one.feed(said(b"late"))[0][0] == EV_RUN
        one.outlet.stop()
        nursery.start_soon(_read_to, one, len(huge))
    one.read(1 << 20)
    assert decode_chunked(bytes(one.wire)).startswith(huge + spliced(b"behind") + b"end")


async def test_nothing_overtakes_what_the_writer_could_not_write(one: Stream) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.outlet.pump, one.writer)
        await wait_all_tasks_blocked()
        count = 0
        while one.writer.idle:
            one.outlet.put(b"p" * 700, 1, 0.0)
            count += 1
        one.read(1)
        while one.read(4_000):  # room again, before the consumer's task had its turn
            pass
        one.feed(said(b"behind"))
        assert one.up == 1
        one.outlet.finish(b"end")
        nursery.start_soon(_read_to, one, 700 * count)
    one.read(1 << 20)
    assert decode_chunked(bytes(one.wire)) == b"p" * 700 * count + spliced(b"behind") + b"end"


async def test_an_end_is_the_end(one: Stream) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.outlet.pump, one.writer)
        await wait_all_tasks_blocked()
        one.outlet.finish(b"end")
        assert one.feed(said(b"late"), late=True)[0][0] == EV_RUN
    one.read(1 << 20)
    assert decode_chunked(bytes(one.wire)) == b"end"


async def test_a_slow_consumer_moves_the_stream_to_the_task_and_back(one: Stream) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.outlet.pump, one.writer)
        await wait_all_tasks_blocked()
        count = 0
        while not one.spout.stuck and one.up == 0:
            one.feed(said(b"s" * 500))
            count += 1
        while one.up < 5:
            one.feed(said(b"s" * 500))
            count += 1
        await trio.lowlevel.checkpoint()
        assert not one.writer.idle
        while one.read(65536):
            await wait_all_tasks_blocked(0.001)
        assert one.writer.idle
        before = one.up
        one.feed(said(b"s" * 500))
        assert one.up == before, "the spout is open again"
        one.outlet.finish(b"")
        nursery.start_soon(_read_to, one, len(spliced(b"s" * 500)) * (count + 1))
    assert decode_chunked(bytes(one.wire)) == spliced(b"s" * 500) * (count + 1)


async def _read_to(one: Stream, size: int) -> None:
    """Read until so many bytes and the end of a chunk were there; the rest, if any, is in the socket then."""
    while len(one.wire) < size or not one.wire.endswith(b"\r\n"):
        await trio.lowlevel.wait_readable(one.far)
        one.read(65536)


async def test_a_consumer_that_reset_the_connection_is_gone(one: Stream) -> None:
    async def consume() -> None:
        with pytest.raises(ConsumerGone):
            await one.outlet.pump(one.writer)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume)
        await wait_all_tasks_blocked()
        one.far.close()
        one.feed(said(b"1"))
    assert one.abandoned == 1
    assert one.writer.closed
    one.feed(said(b"2"))
    assert one.up == 1


async def test_a_cancelled_consumer_leaves_nothing_that_writes(one: Stream) -> None:
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.outlet.pump, one.writer)
            await wait_all_tasks_blocked()
            scope.cancel()
    assert one.abandoned == 1
    one.feed(said(b"late"))
    assert one.read(65536) == 0


async def test_a_closed_writer_lets_go_of_the_socket(one: Stream) -> None:
    one.writer.close()
    one.near.close()
    assert one.far.recv(1) == b""
