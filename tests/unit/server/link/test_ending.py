"""How a connection ends, whoever ends it, and what its attempts and the registry hear of that."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from protocol.messages.from_provider import Heartbeat, ProviderDrain, SystemMetrics
from protocol.messages.to_provider import ProviderDrainAck
from server.link.liveness import Liveness
from tests.unit.server.link.conftest import RecordingSink, attach, open_world


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


async def test_cancelling_the_server_ends_the_session_and_its_attempts(autojump_clock: Any) -> None:
    sink = RecordingSink()
    async with open_world("memory") as world:
        _, session = await world.registered()
        attach(session, sink)
        repr(session)
    assert sink.terminals == ["gone"]
    assert world.registry.named("disconnect") == [("disconnect", session.session_id, False)]
