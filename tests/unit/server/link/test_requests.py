"""Requests, cancels and endings of attempts: who ends an attempt, and what reaches the wire."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from protocol.codec import encode
from protocol.messages.from_provider import InferenceAccepted, InferenceComplete, InferenceError
from protocol.messages.to_provider import Cancel, InferenceRequest, LoadModel
from protocol.sealing import WipeableKey
from server.ports import ChannelError, RequestWithdrawn, WriterStopped
from tests.conftest import FULL
from tests.unit.server.link.conftest import RecordingSink, attach, open_world

ID = "11111111-1111-4111-8111-111111111111"
REQUEST = encode(InferenceRequest(request_id=ID))


def kinds(messages: list[Any]) -> list[str]:
    return [type(message).__name__ for message in messages if isinstance(message, InferenceRequest | Cancel)]


async def test_request_then_cancel_arrive_in_order(world: Any, autojump_clock: Any) -> None:
    provider, session = await world.registered()
    attach(session, RecordingSink(ID))
    await session.send_request(ID, REQUEST)
    session.cancel(ID)
    session.cancel(ID)
    assert kinds(await provider.drain()) == ["InferenceRequest", "Cancel"]


async def test_an_order_to_load_goes_out_ahead_of_requests(world: Any, autojump_clock: Any) -> None:
    provider, session = await world.registered()
    session.load_model("m")
    orders = [one for one in await provider.drain() if isinstance(one, LoadModel)]
    assert [order.model_id for order in orders] == ["m"]


async def test_cancel_before_the_request_was_sent_sends_nothing(world: Any, autojump_clock: Any) -> None:
    provider, session = await world.registered()
    attach(session, RecordingSink(ID))
    session.cancel(ID)
    session.cancel("never attached")
    session.detach(ID)
    session.cancel(ID)
    assert kinds(await provider.drain()) == []


async def test_cancel_after_detach_still_reaches_the_provider_once(world: Any, autojump_clock: Any) -> None:
    provider, session = await world.registered()
    attach(session, RecordingSink(ID))
    await session.send_request(ID, REQUEST)
    assert session.detach(ID)
    session.cancel(ID)
    session.cancel(ID)
    assert kinds(await provider.drain()) == ["InferenceRequest", "Cancel"]


async def test_cancelled_attempt_still_hears_its_completion(world: Any, autojump_clock: Any) -> None:
    provider, session = await world.registered()
    sink = RecordingSink(ID)
    attach(session, sink)
    await session.send_request(ID, REQUEST)
    session.cancel(ID)
    await provider.send(InferenceComplete(request_id=ID))
    await wait_all_tasks_blocked()
    assert sink.terminals == ["complete"]


@pytest.mark.parametrize("detached", [False, True])
async def test_the_time_from_a_cancel_to_its_terminal_is_measured(
    world: Any, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch, detached: bool
) -> None:
    provider, session = await world.registered()
    took: list[float] = []
    monkeypatch.setattr(world.meter, "cancel_answered", took.append)
    attach(session, RecordingSink(ID))
    await session.send_request(ID, REQUEST)
    session.cancel(ID)
    if detached:
        session.detach(ID)
    await trio.sleep(0.75)
    failed = InferenceError(request_id=ID, error="cancelled", status_code=499, failure_code="cancelled")
    await provider.send(failed)
    await provider.send(failed)
    await wait_all_tasks_blocked()
    assert took == [pytest.approx(0.75)]
    assert world.meter.events["cancel_sent"] == 1


async def test_cancel_silences_stray_chunks_for_ten_seconds(world: Any, autojump_clock: Any) -> None:
    provider, session = await world.registered()
    sealed = attach(session, RecordingSink(ID))
    chunk = provider.chunk(ID, b"data: a", sealed)
    await session.send_request(ID, REQUEST)
    session.cancel(ID)
    session.detach(ID)
    await provider.send(chunk)
    await trio.sleep(9)
    await provider.send(chunk)
    assert kinds(await provider.drain()) == ["InferenceRequest", "Cancel"]
    await trio.sleep(2)
    await provider.send(chunk)
    assert kinds(await provider.drain()) == ["Cancel"]


async def test_request_needs_an_attached_attempt_and_goes_out_once(world: Any, autojump_clock: Any) -> None:
    provider, session = await world.registered()
    with pytest.raises(RequestWithdrawn):
        await session.send_request(ID, REQUEST)
    attach(session, RecordingSink(ID))
    await session.send_request(ID, REQUEST)
    with pytest.raises(RequestWithdrawn):
        await session.send_request(ID, REQUEST)
    assert kinds(await provider.drain()) == ["InferenceRequest"]


async def test_closing_connection_takes_no_attempt_and_no_request(world: Any, autojump_clock: Any) -> None:
    _, session = await world.registered()
    session.abort(1001, "test")
    key = WipeableKey.copied_from(bytes(32))
    with pytest.raises(WriterStopped):
        session.attach(RecordingSink(ID), key)
    assert key.dead
    with pytest.raises(WriterStopped):
        await session.send_request(ID, REQUEST)
    session.cancel(ID)
    assert not session.detach(ID)


async def blocked_session(world: Any) -> tuple[Any, Any]:
    """A session whose wire is held up by a request that the peer does not read."""
    provider, session = await world.registered()
    await wait_all_tasks_blocked()
    attach(session, RecordingSink("blocker"))

    async def block() -> None:
        with contextlib.suppress(ChannelError):
            await session.send_request("blocker", encode(InferenceRequest(request_id="b" * 900_000)))

    world.nursery.start_soon(block)
    await wait_all_tasks_blocked()
    return provider, session


@pytest.mark.parametrize("how", ["cancel", "detach", "task"])
async def test_queued_request_is_withdrawn_without_a_cancel(autojump_clock: Any, how: str) -> None:
    async with open_world("socket") as world:
        provider, session = await blocked_session(world)
        sink = RecordingSink(ID)
        attach(session, sink)
        ends: list[str] = []
        scope = trio.CancelScope()

        async def send() -> None:
            with scope:
                try:
                    await session.send_request(ID, REQUEST)
                except RequestWithdrawn as error:
                    ends.append("torn" if error.frame_started else "withdrawn")
            if scope.cancelled_caught:
                ends.append("cancelled")

        world.nursery.start_soon(send)
        await wait_all_tasks_blocked()
        if how == "task":
            scope.cancel()
        else:
            getattr(session, how)(ID)
        await wait_all_tasks_blocked()
        session.cancel(ID)
        session.detach(ID)
        session.cancel(ID)
        got = [
            message.request_id[:1]
            for message in await provider.drain()
            if isinstance(message, InferenceRequest | Cancel)
        ]
        assert got == ["b"]
        assert ends == ["cancelled" if how == "task" else "withdrawn"]
        assert sink.heard == []


async def test_control_overtakes_queued_requests_but_not_its_own(autojump_clock: Any) -> None:
    async with open_world("socket") as world:
        provider, session = await blocked_session(world)
        for name in ("first", "second"):
            attach(session, RecordingSink(name))
            world.nursery.start_soon(session.send_request, name, encode(InferenceRequest(request_id=name)))
            await wait_all_tasks_blocked()
        session.cancel("blocker")
        got = [(type(message).__name__, message.request_id[:6]) for message in await provider.drain()]
        assert [one for one in got if one[0] in ("InferenceRequest", "Cancel")] == [
            ("InferenceRequest", "bbbbbb"),
            ("Cancel", "blocke"),
            ("InferenceRequest", "first"),
            ("InferenceRequest", "second"),
        ]


async def test_peer_that_stops_reading_loses_its_session_and_everyone_hears(autojump_clock: Any) -> None:
    async with open_world("socket") as world:
        _, session = await blocked_session(world)
        sink = RecordingSink(ID)
        attach(session, sink)
        failures: list[ChannelError] = []

        async def send() -> None:
            try:
                await session.send_request(ID, REQUEST)
            except ChannelError as error:
                failures.append(error)

        world.nursery.start_soon(send)
        began = trio.current_time()
        while not sink.heard:
            await trio.sleep(0.05)
        assert 4.9 <= trio.current_time() - began <= 5.6
        assert sink.heard == [("gone", "provider_disconnected")]
        await wait_all_tasks_blocked()
        assert [error.frame_started for error in failures] == [False]
        assert len(world.link) == 0


@pytest.mark.parametrize("how", ["close", "peer_close", "cancel"])
async def test_a_request_that_is_being_written_hears_the_end_of_the_session(autojump_clock: Any, how: str) -> None:
    async with open_world("socket") as world:
        provider, session = await world.registered()
        await wait_all_tasks_blocked()
        sinks = {name: RecordingSink(name) for name in ("writing", "queued")}
        ends: dict[str, tuple[bool, float]] = {}

        async def send(name: str, body: str) -> None:
            attach(session, sinks[name])
            try:
                await session.send_request(name, encode(InferenceRequest(request_id=body)))
            except WriterStopped as error:
                ends[name] = (error.frame_started, trio.current_time())

        for name, body in (("writing", "b" * 900_000), ("queued", "q")):
            world.nursery.start_soon(send, name, body)
            await wait_all_tasks_blocked()
        began = trio.current_time()
        if how == "close":
            session.close(1008, "test")
        elif how == "peer_close":
            await provider.close(1001)
        else:
            session.scope.cancel()
        with trio.fail_after(4):  # sooner than the write deadline
            while len(ends) < 2:
                await trio.sleep(0.01)
        assert {name: started for name, (started, _) in ends.items()} == {"writing": True, "queued": False}
        assert max(at for _, at in ends.values()) - began <= 1.1
        assert [sink.terminals for sink in sinks.values()] == [["gone"], ["gone"]]
        assert world.context.housekeeper._heap == [] or session.due_at == float("inf")


async def test_a_registered_provider_that_loses_trust_gets_no_queued_request(autojump_clock: Any) -> None:
    async with open_world("socket") as world:
        provider, session = await blocked_session(world)
        attach(session, RecordingSink(ID))
        ends: list[type[Exception]] = []

        async def send() -> None:
            try:
                await session.send_request(ID, REQUEST)
            except ChannelError as error:
                ends.append(type(error))

        world.nursery.start_soon(send)
        await wait_all_tasks_blocked()
        session.trust.untrust("sip_disabled")
        await wait_all_tasks_blocked()
        assert ends == [RequestWithdrawn]
        assert [
            message.request_id[:1] for message in await provider.drain() if isinstance(message, InferenceRequest)
        ] == ["b"]


STATES = ["attached", "sent", "accepted", "streaming", "cancelled", "detached"]
EVENTS = [
    "accepted",
    "chunk",
    "complete",
    "error",
    "violation",
    "bad_text",
    "detach",
    "cancel",
    "goodbye",
    "reset",
    "abort",
]
ENDS = {
    "complete": "complete",
    "error": "error",
    "violation": "violation",
    "bad_text": "bad_text",
    "goodbye": "gone",
    "reset": "gone",
    "abort": "gone",
}


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("state", STATES)
async def test_every_event_in_every_state_gives_one_end(autojump_clock: Any, state: str, event: str) -> None:
    async with open_world("memory") as world:
        provider, session = await world.registered()
        sink = RecordingSink(ID)
        sealed = attach(session, sink)
        chunk = provider.chunk(ID, b"data: a", sealed)
        broken = provider.chunk(ID, b"\xff", sealed)
        if state != "attached":
            await session.send_request(ID, REQUEST)
        if state == "accepted":
            await provider.send(InferenceAccepted(request_id=ID))
        elif state == "streaming":
            await provider.send(chunk)
        elif state == "cancelled":
            session.cancel(ID)
        elif state == "detached":
            session.detach(ID)
        await wait_all_tasks_blocked()

        for _ in range(2):
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                match event:
                    case "accepted":
                        await provider.send(InferenceAccepted(request_id=ID))
                    case "chunk":
                        await provider.send(chunk)
                    case "complete":
                        await provider.send(InferenceComplete(request_id=ID))
                    case "error":
                        await provider.send(InferenceError(request_id=ID, status_code=500))
                    case "violation":
                        await provider.send_text(b'{"type":"inference_response_chunk","request_id":"%b"}' % ID.encode())
                    case "bad_text":
                        await provider.send(broken)
                    case "detach":
                        session.detach(ID)
                    case "cancel":
                        session.cancel(ID)
                    case "goodbye":
                        await provider.close(1001)
                    case "reset":
                        await trio.aclose_forcefully(provider.stream)
                    case "abort":
                        session.abort(1008, "test")
            await wait_all_tasks_blocked()

        expected = [] if state == "detached" or event not in ENDS else [ENDS[event]]
        assert sink.terminals == expected
        assert sealed.shared.dead == (state == "detached" or event == "detach" or event in ENDS)
        session.abort(1001, "the end")
        assert len(sink.terminals) == (0 if state == "detached" or event == "detach" else 1)
        assert sealed.shared.dead


@pytest.mark.parametrize("block", range(5))
async def test_random_schedules_keep_request_before_cancel(autojump_clock: Any, block: int) -> None:
    """Many attempts on one slow connection, each sent, cancelled and detached at random moments."""
    rng = random.Random(block)
    async with open_world("socket") as world:
        provider, session = await world.registered()
        withdrawn: set[str] = set()
        count = 400 if FULL else 40

        async def attempt(name: str) -> None:
            await trio.sleep(rng.random() * 4)
            attach(session, RecordingSink(name))
            size = rng.choice([10, 150_000])
            with trio.move_on_after(rng.random()) as scope:
                try:
                    frame = encode(InferenceRequest(request_id=name, cache_scope="x" * size))
                    await session.send_request(name, frame)
                except ChannelError:
                    withdrawn.add(name)
            if scope.cancelled_caught:
                withdrawn.add(name)
            for step in rng.sample(["cancel", "detach", "cancel"], 3):
                getattr(session, step)(name)

        async def impatient(name: str) -> None:
            await trio.sleep(rng.random() * 5)
            session.cancel(name)

        async def slow_reader() -> None:
            while True:
                await trio.sleep(rng.random() / 4)
                await provider.next()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(slow_reader)
            async with trio.open_nursery() as attempts:
                for number in range(count):
                    attempts.start_soon(attempt, f"a{number}")
                    attempts.start_soon(impatient, f"a{number}")
            await trio.sleep(12)
            nursery.cancel_scope.cancel()
        await provider.drain()
        seen: dict[str, list[str]] = {}
        for message in provider.received:
            if isinstance(message, InferenceRequest | Cancel):
                seen.setdefault(message.request_id, []).append(type(message).__name__)
        assert seen
        assert withdrawn
        for name, order in seen.items():
            assert order == ["InferenceRequest", "Cancel"], (name, order)
            assert name not in withdrawn
