"""Frames of attempts: chunks that open, chunks that break the rules, terminals, strays, keys."""

from __future__ import annotations

import base64
import json
import socket
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import native
from protocol import sodium
from protocol.codec import encode
from protocol.messages.from_provider import (
    EncryptedPayload,
    Heartbeat,
    InferenceAccepted,
    InferenceComplete,
    InferenceError,
    InferenceResponseChunk,
    Usage,
)
from protocol.messages.to_provider import AttestationChallenge, Cancel, TrustStatus
from protocol.sealing import ProviderKeyPair
from server.ports import RequestWithdrawn
from tests.unit.server.link.conftest import RecordingSink, attach

ID = "11111111-1111-4111-8111-111111111111"
SECRET = b"data: do not log me"


def foreign_spelling(chunk: InferenceResponseChunk) -> bytes:
    """The same chunk in a form that no fast scanner takes: an escape in a key and an unknown member."""
    text = encode(chunk).decode()
    return text.replace('"request_id"', '"re\\u0071uest_id"').replace("{", '{"later":1,', 1).encode()


def spelled(chunk: InferenceResponseChunk, slow: bool) -> bytes:
    return foreign_spelling(chunk) if slow else encode(chunk)


both_paths = pytest.mark.parametrize("slow", [False, True], ids=["pump", "decoded"])


@both_paths
async def test_chunks_open_in_order_and_the_terminal_follows(world: Any, autojump_clock: Any, slow: bool) -> None:
    provider, session = await world.registered()
    sink = RecordingSink(ID)
    sealed = attach(session, sink)
    await provider.send(InferenceAccepted(request_id=ID))
    for text in (b"data: 1", b"", "data: hé 🌍".encode()):
        await provider.send_text(spelled(provider.chunk(ID, text, sealed), slow))
    await provider.send(InferenceComplete(request_id=ID, usage=Usage(prompt_tokens=1, completion_tokens=7)))
    await wait_all_tasks_blocked()
    assert sink.heard == [
        ("accepted",),
        ("opened", b"data: 1"),
        ("opened", b""),
        ("opened", "data: hé 🌍".encode()),
        ("complete", 7),
    ]
    assert sealed.shared.dead


@both_paths
async def test_opaque_attempts_get_the_box_and_are_never_opened(world: Any, autojump_clock: Any, slow: bool) -> None:
    provider, session = await world.registered()
    sink = RecordingSink(ID)
    sealed = attach(session, sink, opaque=True)
    chunk = provider.chunk(ID, SECRET, sealed)
    assert chunk.encrypted_data is not None
    await provider.send_text(spelled(chunk, slow))
    await wait_all_tasks_blocked()
    assert sink.heard == [("opaque", chunk.encrypted_data.ciphertext.encode())]


def tampered(chunk: InferenceResponseChunk, how: str) -> InferenceResponseChunk:
    sealed = chunk.encrypted_data
    assert sealed is not None
    box = bytearray(base64.b64decode(sealed.ciphertext))
    key, text = sealed.ephemeral_public_key, sealed.ciphertext
    match how:
        case "plaintext":
            return InferenceResponseChunk(request_id=ID, data=SECRET.decode())
        case "neither":
            return InferenceResponseChunk(request_id=ID)
        case "mixed":
            return msgspec.structs.replace(chunk, data=SECRET.decode())
        case "sender_key":
            key = ProviderKeyPair.generate().public_text
        case "bit":
            box[-1] ^= 1
            text = base64.b64encode(box).decode()
        case "urlsafe":
            text = "-_" + text[2:]
        case "short":
            text = base64.b64encode(box[:39]).decode()
    return msgspec.structs.replace(chunk, encrypted_data=EncryptedPayload(ephemeral_public_key=key, ciphertext=text))


@pytest.mark.parametrize(
    ("how", "rule"),
    [
        ("plaintext", "plaintext"),
        ("neither", "plaintext"),
        ("mixed", "mixed"),
        ("sender_key", "sender_key"),
        ("bit", "open"),
        ("urlsafe", "base64"),
        ("short", "short"),
    ],
)
@both_paths
async def test_violation_ends_the_attempt_and_all_trust(
    world: Any, autojump_clock: Any, caplog: Any, how: str, rule: str, slow: bool
) -> None:
    provider, session = await world.registered()
    sink, other = RecordingSink(ID), RecordingSink("other")
    sealed, other_sealed = attach(session, sink), attach(session, other)
    trust_at_end: list[Any] = []
    sink.on_event = lambda _name: trust_at_end.append(
        (world.registry.trust[session.session_id].untrusted, sealed.shared.dead)
    )
    await provider.send_text(spelled(tampered(provider.chunk(ID, SECRET, sealed), how), slow))
    status = await provider.expect(TrustStatus)
    while status.status == "online":
        status = await provider.expect(TrustStatus)
    assert (status.trust_level, status.status) == ("none", "untrusted")
    assert status.reason.startswith("chunk_violation: ")
    assert (await provider.expect(Cancel)).request_id == ID
    assert sink.heard == [("violation", rule)]
    assert trust_at_end == [("hard", True)]
    # The other attempt goes on; the connection closes once it is done.
    await provider.send(provider.chunk("other", b"data: x", other_sealed))
    await provider.send(InferenceComplete(request_id="other"))
    assert await provider.wait_closed() == 1008
    assert other.heard == [("opened", b"data: x"), ("complete", 0)]
    assert "do not log me" not in caplog.text


@both_paths
@pytest.mark.parametrize("how", ["plaintext", "mixed", "sender_key", "bit", "urlsafe", "short"])
async def test_the_same_chunks_for_a_finished_id_are_strays(
    world: Any, autojump_clock: Any, how: str, slow: bool
) -> None:
    provider, session = await world.registered()
    sink = RecordingSink(ID)
    sealed = attach(session, sink)
    chunk = tampered(provider.chunk(ID, SECRET, sealed), how)
    await provider.send(InferenceComplete(request_id=ID))
    await provider.send_text(spelled(chunk, slow))
    await provider.expect(Cancel)
    assert sink.heard == [("complete", 0)]
    assert world.registry.trust[session.session_id].untrusted is None
    assert world.meter.events["stray_chunk"] == 1


@both_paths
async def test_text_that_is_not_utf8_costs_the_attempt_but_no_trust(
    world: Any, autojump_clock: Any, slow: bool
) -> None:
    provider, session = await world.registered()
    sink = RecordingSink(ID)
    sealed = attach(session, sink)
    await provider.send_text(spelled(provider.chunk(ID, b"\xff\xfe", sealed), slow))
    assert (await provider.expect(Cancel)).request_id == ID
    assert sink.heard == [("bad_text",)]
    assert sealed.shared.dead
    assert world.registry.trust[session.session_id].untrusted is None


async def test_chunks_of_one_attempt_never_open_with_the_key_of_another(world: Any, autojump_clock: Any) -> None:
    provider, session = await world.registered()
    sinks = [RecordingSink(f"id-{number}") for number in range(3)]
    sealed = [attach(session, sink) for sink in sinks]
    assert len({one.ephemeral_public_key for one in sealed}) == 3
    await provider.send(provider.chunk("id-0", b"data: x", sealed[1]))
    await wait_all_tasks_blocked()
    assert sinks[0].heard == [("violation", "open")]
    assert sinks[1].heard == []


async def test_fifty_chunks_of_an_unknown_id_in_five_seconds_cost_one_cancel(world: Any, autojump_clock: Any) -> None:
    provider, _ = await world.registered()
    chunk = InferenceResponseChunk(request_id="gone")
    for _ in range(50):
        await provider.send(chunk)
        await trio.sleep(0.1)
    await trio.sleep(6)
    await provider.send(chunk)
    cancels = [message for message in await provider.drain() if isinstance(message, Cancel)]
    assert len(cancels) == 2
    assert world.meter.events["stray_chunk"] == 51


async def test_errors_arrive_in_closed_words_only(world: Any, autojump_clock: Any, caplog: Any) -> None:
    provider, session = await world.registered()
    sink = RecordingSink(ID)
    attach(session, sink)
    await provider.send(InferenceError(request_id=ID, error="user said: my secret", status_code=500))
    await wait_all_tasks_blocked()
    assert sink.heard == [("error", "generation_failure")]
    assert "my secret" not in caplog.text


@pytest.mark.parametrize(
    "message",
    [
        InferenceAccepted(request_id="unknown"),
        InferenceComplete(request_id="unknown"),
        InferenceError(request_id="unknown", error="x", status_code=500),
    ],
)
async def test_frames_of_unknown_ids_are_ignored_and_counted(world: Any, autojump_clock: Any, message: Any) -> None:
    provider, _ = await world.registered()
    await provider.send(message, Heartbeat())
    await wait_all_tasks_blocked()
    assert world.meter.events["unknown_request"] == 1
    assert len(world.registry.named("heartbeat")) == 1


async def test_another_providers_id_is_unknown_here(world: Any, autojump_clock: Any) -> None:
    _, session = await world.registered()
    stranger, _ = await world.registered()
    sink = RecordingSink(ID)
    attach(session, sink)
    await stranger.send(InferenceComplete(request_id=ID))
    await wait_all_tasks_blocked()
    assert sink.heard == []


async def test_the_second_terminal_is_unknown(world: Any, autojump_clock: Any) -> None:
    provider, session = await world.registered()
    sink = RecordingSink(ID)
    attach(session, sink)
    await provider.send(InferenceComplete(request_id=ID), InferenceError(request_id=ID, status_code=500))
    await wait_all_tasks_blocked()
    assert sink.terminals == ["complete"]
    assert world.meter.events["unknown_request"] == 1


async def test_an_attempt_detached_from_inside_a_batch_hears_nothing_more(world: Any, autojump_clock: Any) -> None:
    provider, session = await world.registered()
    winner, loser = RecordingSink("winner"), RecordingSink("loser")
    sealed = {sink.request_id: attach(session, sink) for sink in (winner, loser)}
    winner.on_event = lambda _name: session.detach("loser")
    await provider.send(
        provider.chunk("winner", b"data: a", sealed["winner"]), provider.chunk("loser", b"data: b", sealed["loser"])
    )
    await wait_all_tasks_blocked()
    assert winner.heard == [("opened", b"data: a")]
    assert loser.heard == []
    assert world.registry.trust[session.session_id].untrusted is None


async def test_detach_wipes_the_key_and_later_chunks_are_strays(world: Any, autojump_clock: Any) -> None:
    provider, session = await world.registered()
    sink = RecordingSink(ID)
    sealed = attach(session, sink)
    chunk = provider.chunk(ID, b"data: a", sealed)
    assert session.detach(ID)
    assert not session.detach(ID)
    assert sealed.shared.dead
    await provider.send(chunk)
    await provider.expect(Cancel)
    assert sink.heard == []


async def test_attaching_an_id_twice_is_refused_and_the_new_key_wiped(world: Any, autojump_clock: Any) -> None:
    provider, session = await world.registered()
    sink = RecordingSink(ID)
    sealed = attach(session, sink)
    with pytest.raises(ValueError, match="attached already"):
        attach(session, RecordingSink(ID))
    await provider.send(provider.chunk(ID, b"data: a", sealed))
    await wait_all_tasks_blocked()
    assert sink.heard == [("opened", b"data: a")]


async def test_a_thousand_chunks_need_no_further_key_agreement(
    world: Any, autojump_clock: Any, monkeypatch: Any
) -> None:
    provider, session = await world.registered()
    sink = RecordingSink(ID)
    sealed = attach(session, sink)
    frames = b"".join(
        native.encode_frame(1, encode(provider.chunk(ID, b"data: a", sealed)), mask=b"abcd") for _ in range(1_000)
    )

    def no_agreement(*_args: Any) -> None:
        raise AssertionError("a scalar multiplication")

    monkeypatch.setattr(sodium, "before_nm", no_agreement)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(provider.send_bytes, frames)
        while len(sink.heard) < 1_000:
            await trio.lowlevel.checkpoint()


async def test_ten_thousand_abandoned_attempts_leave_nothing_behind(world: Any, autojump_clock: Any) -> None:
    provider, session = await world.registered()
    live = RecordingSink("live")
    live_sealed = attach(session, live)
    shared = [live_sealed.shared]
    for number in range(10_000):
        key = type(live_sealed.shared).copied_from(bytes(32))
        session.attach(RecordingSink(f"id-{number}"), key)
        session.detach(f"id-{number}")
        shared.append(key)
    assert len(session.attempts) == 1
    assert all(key.dead for key in shared[1:])
    await provider.send(provider.chunk("live", b"data: a", live_sealed))
    await wait_all_tasks_blocked()
    assert live.heard == [("opened", b"data: a")]


async def test_spliced_runs_arrive_with_their_counts(world: Any, autojump_clock: Any) -> None:
    provider, session = await world.registered()
    sink = RecordingSink(ID)
    sealed = attach(session, sink)
    session.set_template(ID, native.SpliceTemplate(b'data: {"t":"', b'"}', b'data: {"out":"', b'"}\n\n'))
    session.set_template("unknown", None)
    chunks = [provider.chunk(ID, b'data: {"t":%b}' % json.dumps(word).encode(), sealed) for word in ("a", "bc")]
    await provider.send(*chunks, InferenceComplete(request_id=ID))
    await wait_all_tasks_blocked()
    runs = [what for what in sink.heard if what[0] == "run"]
    assert b"".join(run[1] for run in runs) == b'data: {"out":"a"}\n\ndata: {"out":"bc"}\n\n'
    assert (sum(run[2] for run in runs), sum(run[3] for run in runs)) == (2, 3)
    assert sink.heard[-1] == ("complete", 0)


async def test_runs_leave_through_the_spout_and_a_stuck_one_is_told(world: Any, autojump_clock: Any) -> None:
    provider, session = await world.registered()
    sink = RecordingSink(ID)
    sealed = attach(session, sink)
    session.set_template(ID, native.SpliceTemplate(b'data: {"t":"', b'"}', b"<", b">"))
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        spout = native.Spout(near.fileno())
        session.set_spout("unknown", spout)
        session.set_spout(ID, spout)
        spout.open()
        await trio.sleep(3)
        await provider.send(provider.chunk(ID, b'data: {"t":"out"}', sealed))
        await wait_all_tasks_blocked()
        assert sink.heard == []
        assert far.recv(100) == b"5\r\n<out>\r\n"
        assert spout.written_at == trio.current_time()
        far.close()
        await provider.send(provider.chunk(ID, b'data: {"t":"lost"}', sealed))
        await wait_all_tasks_blocked()
        assert sink.heard == [("stuck",)]
        assert spout.take_rest() == b"6\r\n<lost>\r\n"
        await provider.send(provider.chunk(ID, b'data: {"t":"up"}', sealed), InferenceComplete(request_id=ID))
        await wait_all_tasks_blocked()
        assert sink.heard[1:] == [("run", b"<up>", 1, 2), ("complete", 0)]
        session.set_spout(ID, spout)
        spout.close()


async def test_requests_queued_for_an_untrusted_provider_are_withdrawn(world: Any, autojump_clock: Any) -> None:
    provider, session = await world.registered()
    sink, queued = RecordingSink(ID), RecordingSink("queued")
    attach(session, sink)
    attach(session, queued)
    outcome: list[Any] = []

    async def send() -> None:
        try:
            await session.send_request("queued", b'{"type":"inference_request"}')
        except RequestWithdrawn as error:
            outcome.append(error.frame_started)

    await provider.send(InferenceResponseChunk(request_id=ID, data="plain"))
    await wait_all_tasks_blocked()
    await send()
    assert outcome == [False]
    session.detach("queued")
    assert await provider.wait_closed() == 1008
    assert all(not isinstance(message, InferenceAccepted) for message in provider.received)


async def test_challenges_and_heartbeats_go_on_while_attempts_are_open(world: Any, autojump_clock: Any) -> None:
    provider, session = await world.registered()
    attach(session, RecordingSink(ID))
    await provider.send(Heartbeat())
    world.nursery.start_soon(provider.keep_answering)
    for _ in range(11):
        await trio.sleep(30)
        await provider.send(Heartbeat())
    assert world.meter.events["challenge_passed"] == 2
    assert sum(isinstance(message, AttestationChallenge) for message in provider.received) == 2
