"""The two-lane writer against a wire whose speed the test controls, and against real sockets."""

from __future__ import annotations

import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from server.link.meter import CountingMeter
from server.link.transport import SocketTransport, TransportLost
from server.link.writer import TwoLaneWriter, WriterLimits
from server.ports import ChannelError, LaneFull, RequestWithdrawn, WriteFailed, WriterStopped, WriteTimeout
from tests.conftest import FULL


class Wire:
    """A transport that takes `room` bytes at once and the rest when the test lets it."""

    waited = True

    def __init__(self, room: int = 0) -> None:
        self.room = room
        self.sent = bytearray()
        self.broken = False
        self.aborted = False
        self._more = trio.Event()

    def let(self, count: int = 1 << 40) -> None:
        """Allow this many more bytes."""
        self.room += count
        self._more.set()

    def reset(self) -> None:
        """Fail every send from now on."""
        self.broken = True
        self._more.set()

    def send_now(self, data: bytes | memoryview) -> int:
        if self.broken:
            raise TransportLost
        taken = min(self.room, len(data))
        self.sent += data[:taken]
        self.room -= taken
        return taken

    async def send_all(self, data: bytes | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        while data:
            taken = self.send_now(data)
            data = data[taken:]
            if data:
                self._more = trio.Event()
                await self._more.wait()

    async def receive(self) -> bytes:
        raise AssertionError("the writer never reads")

    def abort(self) -> None:
        self.aborted = True

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


class Bench:
    """A writer on a wire, with the outcome of each frame by name."""

    def __init__(self, wire: Any, nursery: trio.Nursery, limits: WriterLimits) -> None:
        self.wire = wire
        self.nursery = nursery
        self.died = 0
        self.meter = CountingMeter()
        self.writer = TwoLaneWriter(wire, nursery, limits, self.meter, self._on_dead)
        self.outcomes: dict[str, ChannelError | None] = {}
        self.at: dict[str, float] = {}

    def _on_dead(self) -> None:
        self.died += 1

    def data(self, name: str, size: int = 2) -> Any:
        return self.writer.submit_data(name.encode().ljust(size, b"."), self._note(name))

    def control(self, name: str) -> Any:
        return self.writer.submit_control(name.encode(), self._note(name))

    def _note(self, name: str) -> Callable[[ChannelError | None], None]:
        def note(error: ChannelError | None) -> None:
            assert name not in self.outcomes, "reported twice"
            self.outcomes[name] = error
            self.at[name] = trio.current_time()

        return note


@asynccontextmanager
async def bench(room: int = 0, wire: Any = None, **limits: Any) -> AsyncIterator[Bench]:
    async with trio.open_nursery() as nursery:
        made = Bench(Wire(room) if wire is None else wire, nursery, WriterLimits(**limits))
        yield made
        made.writer.stop("the test is over")
        nursery.cancel_scope.cancel()


async def test_control_goes_before_queued_data_but_not_into_a_frame(autojump_clock: Any) -> None:
    async with bench(room=1) as b:
        for name in ("D1", "D2", "D3", "D4", "D5"):
            b.data(name)
        b.control("C1")
        b.control("C2")
        b.wire.let()
        await wait_all_tasks_blocked()
        assert bytes(b.wire.sent) == b"D1C1C2D2D3D4D5"
        assert list(b.outcomes.values()) == [None] * 7


async def test_data_lane_takes_128_frames_behind_the_one_in_progress(autojump_clock: Any) -> None:
    async with bench(room=1) as b:
        for number in range(129):
            b.data(f"{number}")
        with pytest.raises(LaneFull, match="128 frames") as caught:
            b.data("excess")
        assert not caught.value.frame_started
        assert b.meter.events["lane_full_data"] == 1
        b.control("C")
        b.wire.let()
        await wait_all_tasks_blocked()
        assert len(b.outcomes) == 130
        assert "excess" not in b.outcomes


async def test_the_65th_control_frame_is_refused_and_the_socket_stays(autojump_clock: Any) -> None:
    async with bench() as b:
        for number in range(64):
            b.control(f"{number}")
        with pytest.raises(LaneFull, match="64 frames"):
            b.control("excess")
        assert not b.wire.aborted
        b.wire.let()
        await wait_all_tasks_blocked()
        assert len(b.outcomes) == 64


async def test_a_peer_that_stops_reading_is_aborted_after_five_seconds(autojump_clock: Any) -> None:
    async with bench(room=10) as b:
        began = trio.current_time()
        b.data("D1", 1024)
        b.data("D2")
        b.control("C1")
        await trio.sleep(6)
        assert 5.0 <= b.at["D1"] - began <= 5.5
        assert b.wire.aborted
        assert b.died == 1
        assert {name: type(error) for name, error in b.outcomes.items()} == dict.fromkeys(
            ("D1", "D2", "C1"), WriteTimeout
        )
        assert [b.outcomes[name].frame_started for name in ("D1", "D2")] == [True, False]  # type: ignore[union-attr]
        with pytest.raises(WriterStopped):
            b.data("late")


@pytest.mark.parametrize(
    ("mebibytes", "seconds"), [(0, 5.0), (10, 5.0), (21, 10.5), (40, 20.0), (60, 30.0), (64, 30.0)]
)
def test_deadline_grows_with_the_frame_within_its_bounds(mebibytes: int, seconds: float) -> None:
    assert WriterLimits().deadline_seconds(mebibytes << 20) == seconds


async def test_caller_cancelled_while_queued_withdraws_its_frame(autojump_clock: Any) -> None:
    async with bench(room=1) as b:
        b.data("D1")
        frame = b.data("D2")
        b.data("D3")
        with trio.move_on_after(1) as scope:
            await b.writer.finished(frame)
        assert scope.cancelled_caught
        b.wire.let()
        await wait_all_tasks_blocked()
        assert bytes(b.wire.sent) == b"D1D3"


async def test_caller_cancelled_while_writing_gets_the_real_result(autojump_clock: Any) -> None:
    async with bench(room=1) as b:
        frame = b.writer.submit_data(b"D1")
        returned = False
        async with trio.open_nursery() as nursery:

            async def write() -> None:
                nonlocal returned
                await b.writer.finished(frame)
                returned = True

            nursery.start_soon(write)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await wait_all_tasks_blocked()
                assert not returned
                b.wire.let()
        assert returned
        assert bytes(b.wire.sent) == b"D1"


async def test_waiting_for_a_frame_that_fails_raises_its_error(autojump_clock: Any) -> None:
    async with bench(room=1) as b:
        frame = b.writer.submit_data(b"D1")
        b.nursery.start_soon(lambda: _later(b.wire.reset))
        with pytest.raises(WriteFailed) as caught:
            await b.writer.finished(frame)
        assert caught.value.frame_started
        assert b.died == 1


async def _later(action: Callable[[], None]) -> None:
    await trio.sleep(1)
    action()


async def test_submit_after_stop_is_refused_at_once(autojump_clock: Any) -> None:
    async with bench() as b:
        b.writer.stop("over")
        for submit in (b.data, b.control):
            with pytest.raises(WriterStopped, match="over"):
                submit("X")
        b.writer.pong(b"p")
        b.wire.let()
        await wait_all_tasks_blocked()
        assert b.wire.sent == b""


async def test_stop_fails_what_waits_and_what_is_being_written(autojump_clock: Any) -> None:
    async with bench(room=1) as b:
        b.data("D1")
        b.data("D2")
        b.writer.stop("over")
        assert [type(error) for error in b.outcomes.values()] == [WriterStopped, WriterStopped]
        assert b.writer.cut


async def test_close_frame_follows_the_frame_in_progress_and_ends_the_rest(autojump_clock: Any) -> None:
    async with bench(room=1) as b:
        b.data("D1")
        b.data("D2")
        b.control("C1")
        b.writer.close(b"bye")
        b.writer.close(b"again")
        assert isinstance(b.outcomes["D2"], WriterStopped)
        assert isinstance(b.outcomes["C1"], WriterStopped)
        b.wire.let()
        await wait_all_tasks_blocked()
        assert bytes(b.wire.sent) == b"D1bye"
        assert not b.writer.cut


async def test_close_during_a_blocked_write_leaks_no_task(autojump_clock: Any) -> None:
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        b = Bench(Wire(1), nursery, WriterLimits())
        b.data("D1")
        b.writer.close(b"bye")
        nursery.cancel_scope.deadline = trio.current_time() + 1
    b.writer.stop("over")
    assert trio.current_time() - began <= 1.0
    assert b.writer.cut


async def test_only_the_last_of_many_pongs_waits(autojump_clock: Any) -> None:
    async with bench() as b:
        for number in range(1_000):
            b.writer.pong(b"p%d;" % number)
        b.control("C1")
        b.wire.let()
        await wait_all_tasks_blocked()
        assert bytes(b.wire.sent) == b"p999;C1"


async def test_a_second_large_frame_may_not_wait(autojump_clock: Any) -> None:
    async with bench(room=1) as b:
        b.data("D1", 2 << 20)
        b.data("D2", 2 << 20)
        with pytest.raises(LaneFull, match="1 MiB"):
            b.data("D3", 2 << 20)
        b.data("small")
        assert b.meter.events["lane_full_large"] == 1


async def test_frames_go_out_at_once_while_the_kernel_has_room(autojump_clock: Any) -> None:
    async with bench(room=1 << 20) as b:
        b.data("D1")
        b.control("C1")
        # No checkpoint has passed: nothing needed a task.
        assert bytes(b.wire.sent) == b"D1C1"
        assert b.outcomes == {"D1": None, "C1": None}


async def test_a_frame_submitted_from_a_notification_keeps_the_order(autojump_clock: Any) -> None:
    async with bench(room=4) as b:
        b.writer.submit_data(b"D1", lambda _error: b.data("D2", 6) and None)
        b.data("D3")
        b.wire.let()
        await wait_all_tasks_blocked()
        assert bytes(b.wire.sent) == b"D1D2....D3"


async def test_withdrawing_the_data_lane_leaves_control_and_the_current_frame(autojump_clock: Any) -> None:
    async with bench(room=1) as b:
        b.data("D1")
        b.data("D2")
        b.control("C1")
        b.writer.withdraw_data("no trust")
        b.wire.let()
        await wait_all_tasks_blocked()
        assert bytes(b.wire.sent) == b"D1C1"
        assert isinstance(b.outcomes["D2"], RequestWithdrawn)


async def test_a_started_frame_cannot_be_withdrawn(autojump_clock: Any) -> None:
    async with bench(room=1) as b:
        frame = b.data("D1")
        assert not b.writer.withdraw(frame, "too late")
        assert "D1" not in b.outcomes


async def test_a_reset_socket_fails_every_frame(autojump_clock: Any) -> None:
    async with bench() as b:
        b.wire.reset()
        b.data("D1")
        assert isinstance(b.outcomes["D1"], WriteFailed)
        assert b.died == 1
        assert b.wire.aborted


async def _random_schedule(seed: int) -> bytes:
    """Let one task send a request and another cancel it, on a slow wire; return what the wire took."""
    rng = random.Random(seed)
    async with bench(room=rng.choice([0, 0, 1, 100]), min_seconds=1e3, max_seconds=1e3) as b:
        sent = withdrawn = False
        cancelled = False
        frame = None

        async def request(scope: trio.CancelScope) -> None:
            nonlocal sent, withdrawn, frame
            await trio.sleep(rng.randrange(3))
            frame = b.writer.submit_data(b"<request>")
            with scope:
                try:
                    await b.writer.finished(frame)
                    sent = True
                except RequestWithdrawn:
                    withdrawn = True
            if scope.cancelled_caught:
                withdrawn = True

        async def cancel(scope: trio.CancelScope) -> None:
            nonlocal cancelled
            await trio.sleep(rng.randrange(4))
            if rng.random() < 0.5:
                scope.cancel()
                await trio.lowlevel.checkpoint()
            if frame is None or b.writer.withdraw(frame, "cancelled"):
                return
            if frame.started:
                b.writer.submit_control(b"<cancel>")
                cancelled = True

        async def traffic() -> None:
            for _ in range(6):
                await trio.sleep(rng.random() * 1.5)
                b.wire.let(rng.choice([0, 0, 5]))
            b.wire.let()

        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()
            nursery.start_soon(request, scope)
            nursery.start_soon(cancel, scope)
            nursery.start_soon(traffic)
        await wait_all_tasks_blocked()
        wire = bytes(b.wire.sent)
        assert wire in (b"", b"<request>", b"<request><cancel>")
        assert not (withdrawn and wire), (seed, wire)
        assert sent == (b"<request>" in wire)
        assert cancelled == (b"<cancel>" in wire)
    return wire


@pytest.mark.parametrize("block", range(10))
async def test_cancel_never_precedes_its_request(autojump_clock: Any, block: int) -> None:
    count = 1_000 if FULL else 100
    seen = {await _random_schedule(block * count + number) for number in range(count)}
    assert seen == {b"", b"<request>", b"<request><cancel>"}


async def test_real_socket_partial_sends_keep_frames_whole(autojump_clock: Any) -> None:
    left, right = socket.socketpair()
    left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    near = trio.SocketStream(trio.socket.from_stdlib_socket(left))
    far = trio.SocketStream(trio.socket.from_stdlib_socket(right))
    transport = SocketTransport(near)
    expected = b""
    async with far, bench(wire=transport) as b:
        for number in range(60):
            body = f"{number}".encode() * (500 + number)
            b.writer.submit_data(body)
            expected += body
        got = bytearray()
        while len(got) < len(expected):
            got += await far.receive_some(1000)
        assert bytes(got) == expected
        await transport.aclose()


async def test_real_socket_peer_that_never_reads_is_reset(autojump_clock: Any) -> None:
    left, right = socket.socketpair()
    near = trio.SocketStream(trio.socket.from_stdlib_socket(left))
    far = trio.SocketStream(trio.socket.from_stdlib_socket(right))
    transport = SocketTransport(near)
    async with far, bench(wire=transport) as b:
        began = trio.current_time()
        b.data("D1", 8 << 20)
        while "D1" not in b.outcomes:
            await trio.sleep(0.05)
        assert isinstance(b.outcomes["D1"], WriteTimeout)
        assert 5.0 <= b.at["D1"] - began <= 5.5
        with pytest.raises(TransportLost):
            await transport.receive()


async def test_cancelling_the_writers_nursery_in_the_middle_of_a_frame_reports_every_frame(autojump_clock: Any) -> None:
    async with bench() as b:
        b.data("D1", 100)
        await wait_all_tasks_blocked()
        b.control("C1")
        b.data("D2")
        b.nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await wait_all_tasks_blocked()
        errors = {name: error for name, error in b.outcomes.items() if isinstance(error, WriterStopped)}
        assert {name: error.frame_started for name, error in errors.items()} == {"D1": True, "C1": False, "D2": False}
        assert b.writer.cut
        with pytest.raises(WriterStopped):
            b.data("D3")
