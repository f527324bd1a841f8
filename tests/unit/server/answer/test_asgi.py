"""The ASGI writer keeps the same promises as the direct one."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from server.answer import MAX_WRITE_BYTES, AsgiWriter, ConsumerGone
from server.answer.writer import MAX_WAITING_BYTES


class Server:
    """Collects body events; `slow` yields before each one is taken, `stalled` never takes one."""

    def __init__(self, *, slow: bool = False, stalled: bool = False) -> None:
        self.bodies: list[bytes] = []
        self.aborts = 0
        self.slow = slow
        self.stalled = stalled

    async def send(self, event: Any) -> None:
        assert event["type"] == "http.response.body"
        assert event["more_body"] is True
        if self.stalled:
            await trio.sleep_forever()
        if self.slow:
            await trio.lowlevel.checkpoint()
        self.bodies.append(event["body"])

    async def abort(self) -> None:
        self.aborts += 1

    def writer(self) -> AsgiWriter:
        return AsgiWriter(self.send, abort=self.abort, deadline_seconds=30)


_STEP = st.tuples(st.sampled_from(["now", "drain", "write", "yield"]), st.sampled_from([0, 1, 3000, 20_000]))


@given(first=st.lists(_STEP, max_size=10), second=st.lists(_STEP, max_size=10), slow=st.booleans())
def test_any_interleaving_of_two_tasks_keeps_the_bytes(
    first: list[tuple[str, int]], second: list[tuple[str, int]], slow: bool
) -> None:
    server = Server(slow=slow)
    expected = bytearray()

    def payload(size: int) -> bytes:
        data = (b"%06d|" % len(expected) * (size // 7 + 1))[:size]
        expected.extend(data)
        return data

    async def run(writer: AsgiWriter, steps: list[tuple[str, int]]) -> None:
        for what, size in steps:
            if what == "now":
                writer.write_now(payload(size))
            elif what == "drain":
                await writer.drain()
            elif what == "write":
                await writer.write(payload(size))
            else:
                await trio.lowlevel.checkpoint()

    async def main() -> None:
        writer = server.writer()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, writer, first)
            nursery.start_soon(run, writer, second)
        await writer.drain()
        assert writer.idle
        assert writer.bytes_written == len(expected)

    trio.run(main)
    assert b"".join(server.bodies) == expected
    assert all(0 < len(body) <= MAX_WRITE_BYTES for body in server.bodies)


async def test_kept_bytes_leave_in_one_event() -> None:
    server = Server()
    writer = server.writer()
    assert not writer.direct
    for _ in range(5):
        assert writer.write_now(b"ab") is False
    await writer.drain()
    assert server.bodies == [b"ababababab"]


async def test_consumer_that_never_reads_is_gone_after_the_deadline(autojump_clock: trio.testing.MockClock) -> None:
    server = Server(stalled=True)
    writer = server.writer()
    started = trio.current_time()
    with pytest.raises(ConsumerGone):
        await writer.write(b"hello")
    assert trio.current_time() - started == pytest.approx(30)
    assert server.aborts == 1
    assert writer.closed


async def test_backlog_is_bounded() -> None:
    server = Server()
    writer = server.writer()
    writer.write_now(b"x" * (MAX_WAITING_BYTES + 1))
    assert writer.closed
    with pytest.raises(ConsumerGone):
        await writer.drain()
    assert server.bodies == []
