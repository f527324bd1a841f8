"""Quiet connections: parked between heartbeats, read in one task, given back for everything else, on real sockets."""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import native
from protocol.codec import encode
from protocol.messages.from_provider import Heartbeat, InferenceAccepted, InferenceComplete, ProviderDrain
from protocol.messages.to_provider import ProviderDrainAck
from server.link.idle import GATHER_SECONDS, IdleReads
from server.link.reader import Reader
from server.link.session import ProviderSession
from tests.unit.server.link.conftest import MASK, RecordingSink, World, attach, open_world

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="connections are parked where there is epoll")

BEAT = Heartbeat(status="idle")


@pytest.fixture
async def quiet() -> AsyncIterator[World]:
    """A provider link on real sockets."""
    async with open_world("socket") as world:
        yield world


async def parked(world: World, **kwargs: Any) -> tuple[Any, ProviderSession]:
    """A registered provider whose connection is parked."""
    provider, session = await world.registered(**kwargs)
    await provider.send(BEAT)
    await wait_all_tasks_blocked()
    assert session.quiet
    return provider, session


async def test_a_heartbeat_without_attempts_parks_and_later_ones_are_applied(quiet: World, autojump_clock: Any) -> None:
    provider, session = await parked(quiet)
    assert len(quiet.context.idle) == 1
    before = len(quiet.registry.named("heartbeat"))
    for number in range(3):
        await trio.sleep(5)
        await provider.send(BEAT)
        await trio.sleep(2 * GATHER_SECONDS)
        assert len(quiet.registry.named("heartbeat")) == before + number + 1
        assert session.liveness.heartbeat_at == pytest.approx(trio.current_time(), abs=3 * GATHER_SECONDS)
    assert len(quiet.context.idle) == 1


async def test_the_frames_of_many_connections_are_all_read(quiet: World, autojump_clock: Any) -> None:
    providers = [(await parked(quiet, ip=f"10.0.0.{number}"))[0] for number in range(40)]
    assert len(quiet.context.idle) == 40
    before = len(quiet.registry.named("heartbeat"))
    for provider in providers:
        await provider.send(BEAT, BEAT)
    await trio.sleep(5 * GATHER_SECONDS)
    assert len(quiet.registry.named("heartbeat")) == before + 80


async def test_frames_close_together_are_gathered(quiet: World, autojump_clock: Any) -> None:
    (one, _), (two, _) = await parked(quiet), await parked(quiet)
    await trio.sleep(1)
    before = len(quiet.registry.named("heartbeat"))
    await one.send(BEAT)
    await wait_all_tasks_blocked()
    assert len(quiet.registry.named("heartbeat")) == before + 1
    await two.send(BEAT)
    await wait_all_tasks_blocked()
    assert len(quiet.registry.named("heartbeat")) == before + 1
    await trio.sleep(1.5 * GATHER_SECONDS)
    assert len(quiet.registry.named("heartbeat")) == before + 2


async def test_an_attempt_takes_its_connection_out_before_anything_is_sent(quiet: World, autojump_clock: Any) -> None:
    provider, session = await parked(quiet)
    sink = RecordingSink()
    attach(session, sink)
    assert len(quiet.context.idle) == 0
    await provider.send(InferenceAccepted(request_id=sink.request_id))
    await wait_all_tasks_blocked()
    assert sink.heard == [("accepted",)]
    await provider.send(BEAT)
    await wait_all_tasks_blocked()
    assert len(quiet.context.idle) == 0
    await provider.send(InferenceComplete(request_id=sink.request_id))
    await wait_all_tasks_blocked()
    assert len(quiet.context.idle) == 0
    await provider.send(BEAT)
    await wait_all_tasks_blocked()
    assert len(quiet.context.idle) == 1


async def test_frames_before_and_after_an_attachment_keep_their_order(quiet: World, autojump_clock: Any) -> None:
    provider, session = await parked(quiet)
    heard: list[Any] = quiet.registry.calls
    sink = RecordingSink()
    sink.on_event = lambda name: heard.append((name,))
    del heard[:]
    frames = (BEAT, InferenceAccepted(request_id=sink.request_id), BEAT)
    # No checkpoint: the frames wait in the socket while the connection is given back to its own task.
    data = b"".join(native.encode_frame(1, encode(frame), mask=MASK) for frame in frames)
    assert os.write(provider.stream.socket.fileno(), data) == len(data)
    attach(session, sink)
    await wait_all_tasks_blocked()
    assert [call[0] for call in heard] == ["heartbeat", "accepted", "heartbeat"]


async def test_pings_and_other_messages_are_answered_while_parked(quiet: World, autojump_clock: Any) -> None:
    provider, session = await parked(quiet)
    await provider.send_text(b"abc", 9)
    await provider.send(ProviderDrain(request_id="d"))
    assert (await provider.expect(ProviderDrainAck)).request_id == "d"
    assert provider.pongs == [b"abc"]
    assert quiet.registry.named("mark_draining") == [("mark_draining", session.session_id)]
    assert len(quiet.context.idle) == 1


async def test_a_flood_of_frames_is_left_to_the_connections_own_task(
    quiet: World, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider, session = await parked(quiet)
    before = len(quiet.registry.named("heartbeat"))
    real, sizes = Reader.dispatch, []

    def dispatch(self: Reader, batch: Any) -> None:
        sizes.append(len(batch))
        real(self, batch)

    monkeypatch.setattr(Reader, "dispatch", dispatch)
    frame = native.encode_frame(1, b'{"type":"heartbeat","status":"idle"}', mask=MASK)
    quiet.nursery.start_soon(provider.send_bytes, frame * 3_000)
    await trio.sleep(10 * GATHER_SECONDS)
    assert len(quiet.registry.named("heartbeat")) == before + 3_000
    assert max(sizes) <= 32
    assert quiet.context.sessions == {session.session_id: session}


async def test_a_large_message_is_read_without_pauses(quiet: World, autojump_clock: Any) -> None:
    provider, session = await parked(quiet)
    before = len(quiet.registry.named("heartbeat"))
    text = b'{"type":"heartbeat","status":"idle","later":"' + b"x" * (4 << 20) + b'"}'
    began = trio.current_time()
    await provider.send_text(text)
    await trio.sleep(2 * GATHER_SECONDS)
    assert len(quiet.registry.named("heartbeat")) == before + 1
    assert trio.current_time() - began <= 5 * GATHER_SECONDS
    assert session.quiet


async def test_a_step_ends_when_its_time_is_over_and_every_frame_is_read_all_the_same(
    quiet: World, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    providers = [(await parked(quiet, ip=f"10.0.0.{number}"))[0] for number in range(12)]
    await trio.sleep(1)
    now, steps = [0.0], [0]
    real = Reader.dispatch

    def slow(self: Reader, batch: Any) -> None:
        steps[-1] += len(batch)
        now[0] += 0.001 * len(batch)
        real(self, batch)

    monkeypatch.setattr("server.link.idle.time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(Reader, "dispatch", slow)
    frame = native.encode_frame(1, b'{"type":"heartbeat","status":"idle"}', mask=MASK)
    for provider in providers:
        assert os.write(provider.stream.socket.fileno(), frame * 5) == len(frame * 5)
    for _ in range(200):
        steps.append(0)
        await trio.lowlevel.checkpoint()
    assert sum(steps) == 60
    # Five frames are more than a step's time; between two turns of this task there may be two steps of the other.
    assert max(steps) <= 10


@pytest.mark.parametrize("code", [1000, 1011])
async def test_the_peers_goodbye_ends_a_parked_connection(quiet: World, autojump_clock: Any, code: int) -> None:
    provider, session = await parked(quiet)
    await provider.close(code)
    assert await provider.wait_closed() == code
    assert len(quiet.context.idle) == len(quiet.link) == 0
    assert quiet.registry.named("disconnect") == [("disconnect", session.session_id, code == 1000)]


@pytest.mark.parametrize("how", ["eof", "reset"])
async def test_a_lost_peer_ends_a_parked_connection(quiet: World, autojump_clock: Any, how: str) -> None:
    provider, session = await parked(quiet)
    if how == "reset":
        # Unread bytes on the far side turn its close into a reset.
        session.writer.submit_control(native.encode_frame(9, b"unread"))
    await trio.aclose_forcefully(provider.stream)
    await trio.sleep(1)
    assert len(quiet.context.idle) == len(quiet.link) == 0
    assert quiet.registry.named("disconnect") == [("disconnect", session.session_id, False)]


async def test_we_close_a_parked_connection_in_order(quiet: World, autojump_clock: Any) -> None:
    provider, session = await parked(quiet)
    session.abort(1001, "for a test")
    assert await provider.wait_closed() == 1001
    await provider.close(1001)
    await trio.sleep(0.5)
    assert len(quiet.context.idle) == len(quiet.link) == 0


async def test_a_silent_parked_connection_is_cut_after_forty_seconds(quiet: World, autojump_clock: Any) -> None:
    provider, _ = await parked(quiet)
    provider.answer_pings = False
    began = trio.current_time()
    assert await provider.wait_closed() == 1006
    assert 39.9 <= trio.current_time() - began <= 40.2
    assert len(quiet.context.idle) == len(quiet.link) == 0


async def test_a_crash_of_ours_ends_one_parked_connection_without_blame(
    quiet: World, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    (bad, session), (good, other) = await parked(quiet), await parked(quiet)
    real = Reader.dispatch

    def dispatch(self: Reader, batch: Any) -> None:
        if self._session is session:
            raise RuntimeError("a bug")
        real(self, batch)

    monkeypatch.setattr(Reader, "dispatch", dispatch)
    await bad.send(BEAT)
    await good.send(BEAT)
    assert await bad.wait_closed() == 1006
    assert quiet.registry.named("disconnect") == [("disconnect", session.session_id, True)]
    assert quiet.context.sessions == {other.session_id: other}
    assert len(quiet.context.idle) == 1


@pytest.mark.parametrize("kind", ["memory", "socket"])
async def test_a_crash_of_ours_blames_no_provider(
    kind: str, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    async with open_world(kind) as world:
        provider, session = await world.registered()
        sink = RecordingSink()
        attach(session, sink)
        monkeypatch.setattr(ProviderSession, "heartbeat", lambda *_: 1 / 0)
        await provider.send(BEAT)
        assert await provider.wait_closed() == 1006
        assert sink.heard == [("gone", "coordinator_fault")]
        assert world.registry.named("disconnect") == [("disconnect", session.session_id, True)]


async def test_when_the_reading_task_ends_every_connection_reads_for_itself(autojump_clock: Any) -> None:
    async with open_world("socket") as world:
        idle = IdleReads()
        world.context.idle = idle
        async with trio.open_nursery() as nursery:
            await nursery.start(idle.run)
            provider, session = await parked(world)
            assert len(idle) == 1
            nursery.cancel_scope.cancel()
        assert len(idle) == 0
        before = len(world.registry.named("heartbeat"))
        await provider.send(BEAT)
        await wait_all_tasks_blocked()
        assert len(world.registry.named("heartbeat")) == before + 1
        assert not session.quiet


async def test_without_epoll_nothing_is_parked(autojump_clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, "epoll")
    async with open_world("socket") as world:
        provider, session = await world.registered()
        await provider.send(BEAT)
        await wait_all_tasks_blocked()
        assert not session.quiet
        assert len(world.registry.named("heartbeat")) == 1


async def test_a_descriptor_that_the_kernel_refuses_is_read_by_its_own_task(
    quiet: World, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider, _ = await quiet.registered()

    class Full:
        def register(self, *_: Any) -> None:
            raise OSError(28, "no watches left")

    with monkeypatch.context() as patch, contextlib.suppress(AttributeError):
        patch.setattr(quiet.context.idle, "_set", Full())
        for _ in range(2):
            await provider.send(BEAT)
            await wait_all_tasks_blocked()
        assert len(quiet.context.idle) == 0
    assert len(quiet.registry.named("heartbeat")) == 2
