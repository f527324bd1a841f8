"""The direct writer: one valid chunked body for any kernel behaviour and any interleaving of two tasks."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, cast

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from server.answer import MAX_WRITE_BYTES, ConsumerGone, DirectWriter
from server.answer.writer import MAX_WAITING_BYTES
from tests.unit.server.answer.chunked_body import TinySocket, decode_chunked

if TYPE_CHECKING:
    from native import Spout


class ScriptedSocket:
    """Takes as many bytes as its script says; 0 means that it is full until the next wait."""

    def __init__(self, script: list[int]) -> None:
        self._script = script
        self.taken = bytearray()
        self.aborted = False
        self.broken: OSError | None = None
        self.stalled = False

    def send_now(self, data: bytes | memoryview) -> int:
        if self.broken is not None:
            raise self.broken
        if self.stalled:
            raise BlockingIOError
        room = self._script.pop(0) if self._script else len(data)
        if room == 0:
            raise BlockingIOError
        self.taken += data[:room]
        return min(room, len(data))

    async def wait_writable(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.stalled:
            await trio.sleep_forever()

    def abort(self) -> None:
        self.aborted = True


_SIZES = st.sampled_from([1, 2, 5, 100, 4096, MAX_WRITE_BYTES, MAX_WRITE_BYTES + 1, 40_000])
_STEP = st.tuples(st.sampled_from(["now", "now_any", "drain", "write", "yield"]), _SIZES)


@given(
    first=st.lists(_STEP, max_size=12),
    second=st.lists(_STEP, max_size=12),
    script=st.lists(st.sampled_from([0, 0, 1, 2, 3, 7, 100, 5000, 50_000]), max_size=60),
)
def test_any_interleaving_of_two_tasks_is_one_valid_body(
    first: list[tuple[str, int]], second: list[tuple[str, int]], script: list[int]
) -> None:
    sock = ScriptedSocket(script)
    expected = bytearray()
    counter = 0

    def payload(size: int) -> bytes:
        nonlocal counter
        counter += 1
        data = (b"%06d|" % counter * (size // 7 + 1))[:size]
        expected.extend(data)
        return data

    async def run(writer: DirectWriter, steps: list[tuple[str, int]]) -> None:
        for what, size in steps:
            if what == "now_any" or (what == "now" and writer.idle):
                taken_whole = writer.write_now(payload(size))
                assert taken_whole == writer.idle
            elif what == "drain":
                await writer.drain()
            elif what == "write":
                await writer.write(payload(size))
            else:
                await trio.lowlevel.checkpoint()

    async def main() -> None:
        writer = DirectWriter(sock, deadline_seconds=5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, writer, first)
            nursery.start_soon(run, writer, second)
        await writer.drain()
        assert writer.idle
        assert writer.bytes_written == len(sock.taken)

    trio.run(main)
    assert decode_chunked(bytes(sock.taken)) == expected


@given(sizes=st.lists(_SIZES, min_size=1, max_size=20), reads=st.sampled_from([1, 100, 3000, 65536]))
def test_real_socket_with_tiny_buffer_carries_one_valid_body(sizes: list[int], reads: int) -> None:
    left, right = socket.socketpair()
    total = 0
    wire = bytearray()

    async def produce(writer: DirectWriter) -> None:
        nonlocal total
        for number, size in enumerate(sizes):
            total += size
            if number % 2 and writer.idle:
                if not writer.write_now(b"n" * size):
                    await writer.drain()
            else:
                await writer.write(b"w" * size)
        await writer.drain()
        left.shutdown(socket.SHUT_WR)

    async def consume() -> None:
        right.setblocking(False)
        while True:
            await trio.lowlevel.wait_readable(right)
            data = right.recv(max(reads, len(wire) // 50))
            if not data:
                return
            wire.extend(data)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(produce, DirectWriter(TinySocket(left), deadline_seconds=5))
            nursery.start_soon(consume)

    with left, right:
        trio.run(main)
    assert len(decode_chunked(bytes(wire))) == total


async def test_write_now_of_a_whole_chunk_is_one_send() -> None:
    sock = ScriptedSocket([])
    writer = DirectWriter(sock, deadline_seconds=5)
    assert writer.write_now(b"hello") is True
    assert sock.taken == b"5\r\nhello\r\n"


async def test_bytes_that_wait_leave_as_one_chunk() -> None:
    sock = ScriptedSocket([0])
    writer = DirectWriter(sock, deadline_seconds=5)
    assert writer.write_now(b"a") is False
    for _ in range(10):
        assert writer.write_now(b"b") is False
    await writer.drain()
    assert sock.taken == b"1\r\na\r\na\r\nbbbbbbbbbb\r\n"


async def test_no_chunk_is_larger_than_the_bound() -> None:
    sock = ScriptedSocket([])
    await DirectWriter(sock, deadline_seconds=5).write(b"z" * (MAX_WRITE_BYTES * 2 + 5))
    assert sock.taken.startswith(b"%x\r\n" % MAX_WRITE_BYTES)
    assert decode_chunked(bytes(sock.taken)) == b"z" * (MAX_WRITE_BYTES * 2 + 5)


async def test_empty_write_sends_nothing_because_an_empty_chunk_would_end_the_body() -> None:
    sock = ScriptedSocket([])
    writer = DirectWriter(sock, deadline_seconds=5)
    await writer.write(b"")
    assert writer.write_now(b"") is True
    assert sock.taken == b""


async def test_consumer_that_never_reads_is_gone_after_the_deadline(autojump_clock: trio.testing.MockClock) -> None:
    sock = ScriptedSocket([3])
    writer = DirectWriter(sock, deadline_seconds=30)
    assert writer.write_now(b"hello") is False
    sock.stalled = True
    started = trio.current_time()
    with pytest.raises(ConsumerGone):
        await writer.drain()
    assert trio.current_time() - started == pytest.approx(30)
    assert sock.aborted
    assert writer.closed


@pytest.mark.parametrize("code", [errno.EPIPE, errno.ECONNRESET, errno.EBADF])
async def test_broken_socket_never_raises_in_synchronous_code(code: int) -> None:
    sock = ScriptedSocket([])
    sock.broken = OSError(code, "broken")
    writer = DirectWriter(sock, deadline_seconds=5)
    assert writer.write_now(b"hello") is False
    assert writer.closed
    assert sock.aborted
    assert writer.write_now(b"again") is False
    with pytest.raises(ConsumerGone):
        await writer.drain()
    with pytest.raises(ConsumerGone):
        await writer.write(b"more")


async def test_backlog_is_bounded() -> None:
    sock = ScriptedSocket([0])
    writer = DirectWriter(sock, deadline_seconds=5)
    for _ in range(MAX_WAITING_BYTES // 65536 + 2):
        writer.write_now(b"x" * 65536)
    assert writer.closed
    assert sock.aborted


async def test_cancelled_drain_keeps_the_rest_for_the_next_call(autojump_clock: trio.testing.MockClock) -> None:
    sock = ScriptedSocket([2])
    writer = DirectWriter(sock, deadline_seconds=30)
    writer.write_now(b"hello")
    sock.stalled = True
    with trio.move_on_after(1) as scope:
        await writer.drain()
    assert scope.cancelled_caught
    sock.stalled = False
    await writer.write(b"more")
    assert decode_chunked(bytes(sock.taken)) == b"hellomore"


async def test_closed_writer_drops_bytes_and_leaves_the_socket_alone() -> None:
    sock = ScriptedSocket([])
    writer = DirectWriter(sock, deadline_seconds=5)
    writer.close()
    assert writer.write_now(b"late") is False
    assert sock.taken == b""
    assert not sock.aborted


class ForgetfulSpout:
    """A spout that was stuck in the middle of a chunk and had no memory to keep the rest."""

    stuck = True
    sent_bytes = 7
    closed = False

    def take_rest(self) -> bytes:
        self.stuck = False
        return b""

    def shut(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


async def test_a_chunk_that_can_never_be_completed_breaks_the_connection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    sock, spout = ScriptedSocket([]), ForgetfulSpout()
    writer = DirectWriter(sock, deadline_seconds=30, spout=cast("Spout", spout))
    assert not writer.write_now(b"would stand inside the torn chunk")
    assert sock.taken == b""
    assert sock.aborted
    assert spout.closed
    assert writer.closed
    with pytest.raises(ConsumerGone):
        await writer.drain()
