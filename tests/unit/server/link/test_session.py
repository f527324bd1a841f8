"""Life of one connection: registration deadline, limits, invalid frames, pings, staleness, endings."""

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
    InferenceResponseChunk,
    LoadModelStatus,
    ModelsUpdate,
    PrefetchModelStatus,
    ProviderDrain,
    SystemMetrics,
)
from protocol.messages.to_provider import (
    AttestationChallenge,
    DesiredModels,
    InferenceRequest,
    ProviderDrainAck,
    TrustStatus,
)
from server.link import LinkSettings, WriterLimits
from server.link.liveness import Liveness
from server.ports import ChannelError
from tests.unit.server.link.conftest import MASK, RecordingSink, attach, open_world


async def test_register_deadline_closes_with_1008(world: Any, autojump_clock: Any) -> None:
    began = trio.current_time()
    provider = await world.connect()
    assert await provider.wait_closed() == 1008
    assert 15.0 <= trio.current_time() - began < 17.0
    assert world.meter.events["register_deadline"] == 1


async def test_register_enters_the_session_and_challenges_at_once(world: Any, autojump_clock: Any) -> None:
    provider = await world.connect()
    await provider.register(prove=False)
    status = await provider.expect(TrustStatus)
    assert (status.trust_level, status.status) == ("self_signed", "online")
    await provider.expect(AttestationChallenge)
    ((_, session_id, stable_id, account),) = world.registry.named("register")
    assert stable_id == "sekey:" + provider.signer.public65().hex()
    assert account is None
    assert world.context.sessions[session_id].public_key == provider.keys.public


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


async def test_chunk_before_register_is_dropped_and_the_socket_stays(world: Any, autojump_clock: Any) -> None:
    provider = await world.connect()
    await provider.send(InferenceResponseChunk(request_id="x"))
    await provider.register(prove=False)
    await provider.expect(AttestationChallenge)
    assert world.meter.events["frame_before_register"] == 1


async def test_second_register_closes_with_1002_and_starts_no_second_challenge(world: Any, autojump_clock: Any) -> None:
    provider, _ = await world.registered()
    await provider.send(provider.registration())
    assert await provider.wait_closed() == 1002
    assert sum(isinstance(message, AttestationChallenge) for message in provider.received) == 1
    assert len(world.registry.named("register")) == 1


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


@pytest.mark.parametrize("code", [1000, 1001])
async def test_peer_going_away_ends_attempts_without_blame(world: Any, autojump_clock: Any, code: int) -> None:
    provider, session = await world.registered()
    sinks = [RecordingSink(f"id-{number}") for number in range(3)]
    keys = [attach(session, sink).shared for sink in sinks]
    await provider.close(code)
    assert await provider.wait_closed() == code
    assert all(sink.heard == [("gone", "provider_restart")] for sink in sinks)
    assert all(key.dead for key in keys)
    assert world.registry.named("disconnect") == [("disconnect", session.session_id, True)]


async def test_lost_connection_ends_attempts_as_disconnected(world: Any, autojump_clock: Any) -> None:
    provider, session = await world.registered()
    sinks = [RecordingSink(f"id-{number}") for number in range(3)]
    keys = [attach(session, sink).shared for sink in sinks]
    await trio.aclose_forcefully(provider.stream)
    await wait_all_tasks_blocked()
    assert all(sink.heard == [("gone", "provider_disconnected")] for sink in sinks)
    assert all(key.dead for key in keys)
    assert world.registry.named("disconnect") == [("disconnect", session.session_id, False)]
    assert len(world.link) == 0


@pytest.mark.parametrize(
    ("pressure", "working", "how", "reason"),
    [
        (0.95, True, "reset", "oom_suspected"),
        (0.95, False, "reset", "read_error"),
        (0.5, True, "reset", "read_error"),
        (0.95, True, "goodbye", "ws_close_1001"),
        (0.5, True, "abort", "disconnect"),
        (0.5, True, "shutdown", "coordinator_restart"),
    ],
)
async def test_why_a_session_ended_is_logged_in_closed_words(
    world: Any, autojump_clock: Any, caplog: Any, pressure: float, working: bool, how: str, reason: str
) -> None:
    caplog.set_level("INFO")
    provider, session = await world.registered()
    await provider.send(Heartbeat(system_metrics=SystemMetrics(memory_pressure=pressure)))
    await wait_all_tasks_blocked()
    if working:
        attach(session, RecordingSink())
    match how:
        case "reset":
            await trio.aclose_forcefully(provider.stream)
        case "goodbye":
            await provider.close(1001)
        case "abort":
            session.abort(1008, "test")
        case "shutdown":
            world.link.close_all()
    await wait_all_tasks_blocked()
    assert [record.reason for record in caplog.records if record.message == "provider_session_ended"] == [reason]


async def test_the_registry_forgets_the_session_before_its_attempts_end(world: Any, autojump_clock: Any) -> None:
    provider, session = await world.registered()
    sink = RecordingSink()
    key = attach(session, sink).shared
    seen: list[tuple[bool, bool]] = []
    sink.on_event = lambda _name: seen.append((bool(world.registry.named("disconnect")), key.dead))
    await provider.close(1001)
    await provider.wait_closed()
    assert seen == [(True, True)]


async def test_a_failing_sink_does_not_keep_the_others_from_their_end(world: Any, autojump_clock: Any) -> None:
    provider, session = await world.registered()
    first, second = RecordingSink("first"), RecordingSink("second")

    def fail(_name: str) -> None:
        raise RuntimeError("a bug")

    first.on_event = fail
    attach(session, first)
    attach(session, second)
    await provider.close(1000)
    await provider.wait_closed()
    assert second.terminals == ["gone"]
    assert world.meter.events["sink_error"] == 1


async def test_drain_is_acknowledged_after_the_terminals_before_it(world: Any, autojump_clock: Any) -> None:
    provider, session = await world.registered()
    await provider.send(ProviderDrain(request_id="d1"))
    assert (await provider.expect(ProviderDrainAck)).request_id == "d1"
    assert world.registry.named("mark_draining") == [("mark_draining", session.session_id)]


async def test_close_all_ends_everything_without_blame(world: Any, autojump_clock: Any) -> None:
    provider, session = await world.registered()
    idle = await world.connect()
    sink = RecordingSink()
    attach(session, sink)
    world.link.close_all()
    assert await provider.wait_closed() == 1001
    assert await idle.wait_closed() == 1001
    assert sink.heard == [("gone", "coordinator_shutdown")]
    late = await world.connect()
    assert await late.wait_closed() == 1001


async def test_unregistered_sockets_are_capped_per_address(autojump_clock: Any) -> None:
    async with open_world("memory", settings=LinkSettings(unregistered_per_ip=2)) as world:
        first = await world.connect()
        await world.connect()
        assert await (await world.connect()).wait_closed() == 1013
        elsewhere = await world.connect(ip="10.0.0.2")
        await first.register(prove=False)
        await first.expect(AttestationChallenge)
        again = await world.connect()
        assert again.closed is None
        assert elsewhere.closed is None


async def test_unregistered_sockets_are_capped_in_all(autojump_clock: Any) -> None:
    async with open_world("memory", settings=LinkSettings(unregistered_total=1)) as world:
        first = await world.connect()
        assert await (await world.connect(ip="10.0.0.2")).wait_closed() == 1013
        await first.close(1000)
        await first.wait_closed()
        await wait_all_tasks_blocked()
        assert (await world.connect(ip="10.0.0.2")).closed is None


async def test_thirteenth_registration_in_a_minute_is_told_to_come_back(world: Any, autojump_clock: Any) -> None:
    first, _ = await world.registered()
    for _ in range(11):
        again = await world.connect(signer=first.signer)
        await again.register(prove=False)
        await again.expect(AttestationChallenge)
        await again.close(1000)
    excess = await world.connect(signer=first.signer)
    await excess.register(prove=False)
    assert await excess.wait_closed() == 1013
    await trio.sleep(61)
    later = await world.connect(signer=first.signer)
    await later.register(prove=False)
    await later.expect(AttestationChallenge)


async def test_a_blob_replayed_by_strangers_uses_up_no_minute_of_its_device(world: Any, autojump_clock: Any) -> None:
    victim, _ = await world.registered()
    blob = encode(victim.registration())
    for _ in range(13):
        stranger = await world.connect(ip="66.6.6.6")
        await stranger.send_text(blob)
        await wait_all_tasks_blocked()
    assert await stranger.wait_closed() == 1013
    again = await world.connect(signer=victim.signer)
    await again.register()
    assert await victim.wait_closed() == 1000
    assert again.closed is None


async def test_thirteenth_proof_of_a_device_in_a_minute_is_told_to_come_back(world: Any, autojump_clock: Any) -> None:
    first, _ = await world.registered()
    for number in range(10):
        await (await world.connect(ip=f"10.0.1.{number}", signer=first.signer)).register()
    again, waiting = [await world.connect(ip=f"10.0.2.{number}", signer=first.signer) for number in (1, 2)]
    for one in (again, waiting):
        await one.register(prove=False)
    for one in (again, waiting):
        await one.prove()
    assert await waiting.wait_closed() == 1013
    await again.drain()
    assert again.closed is None, "the newcomer that may not stay supersedes nobody"
    excess = await world.connect(ip="10.0.0.100", signer=first.signer)
    await excess.register(prove=False)
    assert await excess.wait_closed() == 1013
    await trio.sleep(61)
    later = await world.connect(ip="10.0.0.101", signer=first.signer)
    await later.register()
    assert later.closed is None


async def test_account_of_the_token_and_its_failures(autojump_clock: Any) -> None:
    async def resolve(_session: str, token: str) -> str | None:
        await trio.sleep(1)
        if token == "broken":
            raise OSError("the store is away")
        return {"good": "acct-1"}.get(token)

    async with open_world("memory", link_account=resolve) as world:
        for token in ("good", "bad"):
            provider = await world.connect()
            await provider.register(prove=False, auth_token=token)
            await provider.expect(AttestationChallenge)
        assert [call[3] for call in world.registry.named("register")] == ["acct-1", None]
        broken = await world.connect()
        await broken.register(prove=False, auth_token="broken")
        assert await broken.wait_closed() == 1013


async def test_frames_behind_the_register_wait_for_it(autojump_clock: Any) -> None:
    async def resolve(_session: str, _token: str) -> str | None:
        await trio.sleep(3)
        return "acct-1"

    async with open_world("memory", link_account=resolve) as world:
        provider = await world.connect()
        await provider.send(provider.registration(auth_token="t"), Heartbeat(status="idle"))
        await provider.expect(AttestationChallenge)
        await wait_all_tasks_blocked()
        assert [call[0] for call in world.registry.calls] == ["register", "heartbeat"]


async def test_greeting_follows_the_registration(autojump_clock: Any) -> None:
    async with open_world("memory", greeting=lambda _register: [DesiredModels()]) as world:
        provider = await world.connect()
        await provider.register(prove=False)
        await provider.expect(AttestationChallenge)
        assert [type(message).__name__ for message in provider.received] == [
            "TrustStatus",
            "DesiredModels",
            "AttestationChallenge",
        ]


async def test_unusable_public_key_is_cleared(world: Any, autojump_clock: Any) -> None:
    provider = await world.connect()
    await provider.register(prove=False, public_key="AAAA")
    await provider.expect(AttestationChallenge)
    (session,) = world.context.sessions.values()
    assert session.public_key == b""


async def test_a_peer_that_ignores_the_close_is_cut_after_a_second(world: Any, autojump_clock: Any) -> None:
    provider, session = await world.registered()
    began = trio.current_time()
    session.abort(1008, "test")
    session.abort(1008, "again")
    await wait_all_tasks_blocked()
    while len(world.link) or session.state.name != "GONE":
        await trio.sleep(0.1)
    assert trio.current_time() - began <= 1.3
    assert await provider.wait_closed() == 1008


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


async def test_a_failing_timer_ends_its_session_alone(world: Any, autojump_clock: Any, monkeypatch: Any) -> None:
    first, session = await world.registered()
    second, _ = await world.registered()

    def fail() -> None:
        raise RuntimeError("a bug")

    honest = Liveness.tick
    monkeypatch.setattr(Liveness, "tick", lambda self, now: fail() if self is session.liveness else honest(self, now))
    assert await first.wait_closed() == 1011
    assert second.closed is None
    assert len(world.link) == 1


async def test_a_failing_registry_ends_its_session_alone(world: Any, autojump_clock: Any, monkeypatch: Any) -> None:
    first, _ = await world.registered()
    second, session = await world.registered()
    sink = RecordingSink()
    attach(session, sink)

    def fail(*_args: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(world.registry, "heartbeat", fail)
    await second.send(Heartbeat())
    assert await second.wait_closed() == 1006
    assert sink.terminals == ["gone"]
    assert first.closed is None
    assert len(world.link) == 1


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


async def test_cancelling_the_server_ends_the_session_and_its_attempts(autojump_clock: Any) -> None:
    sink = RecordingSink()
    async with open_world("memory") as world:
        _, session = await world.registered()
        attach(session, sink)
        repr(session)
    assert sink.terminals == ["gone"]
    assert world.registry.named("disconnect") == [("disconnect", session.session_id, False)]
