"""Life of one connection: upgrade, limits, invalid frames, pings, staleness, what its messages do."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import native
from protocol.codec import encode
from protocol.messages.from_provider import (
    CodeAttestationResponse,
    Heartbeat,
    LoadModelStatus,
    ModelsUpdate,
    PrefetchModelStatus,
)
from protocol.messages.to_provider import AttestationChallenge, DesiredModels, InferenceRequest
from server.link import LinkSettings, WriterLimits
from server.ports import ChannelError
from tests.unit.server.link.conftest import MASK, RecordingSink, attach, open_world


async def test_leftover_bytes_behind_the_head_are_read_first(world: Any, autojump_clock: Any) -> None:
    provider = await world.connect(leftover=b"\x89\x80\x00\x00\x00\x00")
    await provider.register(prove=False)
    await provider.expect(AttestationChallenge)
    assert provider.pongs == [b""]


async def test_message_of_the_limit_is_accepted_and_one_byte_more_closes_1009(world: Any, autojump_clock: Any) -> None:
    provider, session = await world.registered()
    other, other_session = await world.registered()
    frame = encode(Heartbeat(status="idle"))
    await provider.send_text(frame[:-1] + b',"pad":"' + b"x" * (10_485_760 - len(frame) - 9) + b'"}')
    await wait_all_tasks_blocked()
    assert world.registry.named("heartbeat") == [("heartbeat", session.session_id)]
    async with trio.open_nursery() as nursery:

        async def send_too_much() -> None:
            # Over a real socket the link closes before it has read all of this.
            with contextlib.suppress(trio.BrokenResourceError):
                await provider.send_text(frame[:-1] + b',"pad":"' + b"x" * (10_485_760 - len(frame) - 8) + b'"}')

        nursery.start_soon(send_too_much)
        assert await provider.wait_closed() == 1009
    await other.send(Heartbeat(status="idle"))
    await wait_all_tasks_blocked()
    assert world.registry.named("heartbeat")[-1] == ("heartbeat", other_session.session_id)


@pytest.mark.parametrize(
    ("frame", "event"),
    [
        (b'{"type":"heartbeat","status":', "frame_malformed"),
        (b'{"type":5}', "frame_type"),
        (b'{"type":"no_such_type"}', "frame_unknown"),
        (b'{"type":"heartbeat","backend_capacity":{"slots":[{"num_running":1.0}]}}', "frame_invalid"),
    ],
)
async def test_invalid_frame_is_dropped_and_the_next_one_works(
    world: Any, autojump_clock: Any, frame: bytes, event: str
) -> None:
    provider, _ = await world.registered()
    await provider.send_text(frame)
    await provider.send(Heartbeat(status="idle"))
    await wait_all_tasks_blocked()
    assert world.meter.events[event] == 1
    assert len(world.registry.named("heartbeat")) == 1


async def test_binary_message_is_read_as_text(world: Any, autojump_clock: Any) -> None:
    provider, _ = await world.registered()
    await provider.send_text(encode(Heartbeat(status="idle")), opcode=2)
    await wait_all_tasks_blocked()
    assert len(world.registry.named("heartbeat")) == 1


async def test_a_hundred_invalid_frames_in_a_minute_close_1008(world: Any, autojump_clock: Any) -> None:
    provider, _ = await world.registered()
    for _ in range(99):
        await provider.send_text(b"{}")
    await wait_all_tasks_blocked()
    assert provider.closed is None
    await provider.send_text(b"{}")
    assert await provider.wait_closed() == 1008


async def test_invalid_frames_over_a_longer_time_are_only_counted(world: Any, autojump_clock: Any) -> None:
    provider, _ = await world.registered()
    world.nursery.start_soon(provider.keep_answering)
    for _ in range(120):
        await provider.send_text(b"{}")
        await trio.sleep(0.7)
    await provider.send(Heartbeat())
    await wait_all_tasks_blocked()
    assert world.meter.events["frame_unknown"] == 120
    assert len(world.registry.named("heartbeat")) == 1


async def test_refused_extensions_are_absent_from_the_answer(world: Any, autojump_clock: Any) -> None:
    head = (
        b"GET /ws/provider HTTP/1.1\r\nHost: c\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol: a\r\n\r\n"
    )
    provider = await world.connect(head=head)
    assert provider.head.startswith(b"HTTP/1.1 101 ")
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in provider.head
    assert b"xtension" not in provider.head
    assert b"rotocol:" not in provider.head


async def test_refused_upgrade_is_answered_and_closed(world: Any, autojump_clock: Any) -> None:
    provider = await world.connect(head=b"GET /ws/provider HTTP/1.1\r\nHost: c\r\n\r\n")
    assert provider.head.startswith(b"HTTP/1.1 426 ")
    assert len(world.link) == 0


async def test_ping_is_answered_with_its_payload(world: Any, autojump_clock: Any) -> None:
    provider = await world.connect()
    await provider.send_text(b"abc", 9)
    with trio.move_on_after(1):
        await provider.next()
    assert provider.pongs == [b"abc"]


async def test_forty_seconds_without_pong_cut_the_connection(world: Any, autojump_clock: Any) -> None:
    provider, _ = await world.registered()
    provider.answer_pings = False
    sink = RecordingSink()
    attach(next(iter(world.context.sessions.values())), sink)
    began = trio.current_time()
    assert await provider.wait_closed() == 1006
    assert 39.9 <= trio.current_time() - began <= 60.1
    assert sink.heard == [("gone", "provider_disconnected")]


async def test_silent_heartbeats_evict_after_two_sweeps(world: Any, autojump_clock: Any) -> None:
    provider, session = await world.registered()
    began = trio.current_time()
    assert await provider.wait_closed() == 1001
    assert 119.9 <= trio.current_time() - began <= 151.0
    assert world.meter.events["stale_strike"] == 1
    assert world.registry.named("disconnect") == [("disconnect", session.session_id, False)]


async def test_heartbeats_keep_a_session_for_ever(world: Any, autojump_clock: Any) -> None:
    provider, session = await world.registered()
    world.nursery.start_soon(provider.keep_answering)
    for _ in range(39):
        await trio.sleep(30)
        await provider.send(Heartbeat(status="idle"))
    assert world.context.sessions == {session.session_id: session}
    assert world.meter.events["challenge_passed"] == 4


async def test_a_flood_of_frames_gives_other_tasks_their_turns(autojump_clock: Any) -> None:
    async with open_world("socket") as world:
        provider, _ = await world.registered()
        frame = native.encode_frame(1, b'{"type":"heartbeat"}', mask=MASK)
        await provider.send_bytes(frame * 3_000)
        turns = 0
        while len(world.registry.calls) < 3_000:
            await trio.lowlevel.checkpoint()
            turns += 1
        assert turns > 2


async def test_model_messages_reach_the_registry_and_others_are_ignored(world: Any, autojump_clock: Any) -> None:
    provider, session = await world.registered()
    await provider.send(
        LoadModelStatus(model_id="m", status="succeeded"),
        ModelsUpdate(),
        PrefetchModelStatus(model_id="m", status="started"),
        CodeAttestationResponse(nonce="n", signature="s"),
    )
    await wait_all_tasks_blocked()
    assert world.registry.calls[1:] == [
        ("load_model_status", session.session_id, "succeeded"),
        ("models_update", session.session_id),
    ]
    assert world.meter.events["ignored_message"] == 2


async def test_invalid_frames_count_before_the_registration_too(world: Any, autojump_clock: Any) -> None:
    provider = await world.connect()
    for _ in range(100):
        await provider.send_text(b"[]")
    assert await provider.wait_closed() == 1008
    assert world.meter.events["frame_malformed"] == 100


async def test_text_that_is_not_utf8_closes_1007(world: Any, autojump_clock: Any) -> None:
    provider, _ = await world.registered()
    await provider.send_text(b"\xff")
    assert await provider.wait_closed() == 1007


async def test_a_full_control_lane_drops_cancels_and_challenges_without_blame(autojump_clock: Any) -> None:
    settings = LinkSettings(stale_seconds=1e9, writer=WriterLimits(control_frames=1, min_seconds=200, max_seconds=200))
    async with open_world("socket", settings=settings) as world:
        _, session = await world.registered()
        attach(session, RecordingSink())
        request = encode(InferenceRequest(request_id="b" * 900_000))

        async def send() -> None:
            with contextlib.suppress(ChannelError):
                await session.send_request(RecordingSink().request_id, request)

        world.nursery.start_soon(send)
        await wait_all_tasks_blocked()
        session.send(DesiredModels())
        session.send(DesiredModels())
        session.cancel(RecordingSink().request_id)
        session.trust._machine.next_challenge_at = trio.current_time()
        session.trust.tick(trio.current_time())
        assert world.meter.events["control_dropped"] == 1
        assert world.meter.events["cancel_dropped"] == 1
        assert world.meter.events["challenge_unwritten"] == 1
        assert session.trust.state.untrusted is None
