"""Outside its schedule a daemon drains, leaves and unloads; with a new token it registers again."""

import os
from datetime import datetime, timedelta

import msgspec
import pytest
import trio

from protocol.messages.from_provider import Heartbeat, ProviderDrain, Register
from protocol.messages.to_provider import ProviderDrainAck
from provider.config import load_settings
from provider.control import Drain, ReloadAuth, ask
from provider.daemon import DaemonOptions, DaemonSeams, OfferedModel, run_daemon
from provider.daemon.journal import choose_preload, note_loaded, read_loaded
from provider.daemon.past import last_crash
from provider.status.record import DaemonState
from provider.status.state_file import read_state, write_state
from tests.testbed.byte_model import byte_model
from tests.testbed.fake_coordinator import FakeCoordinator
from tests.testbed.fake_engine import FakeEngine, Script
from tests.testbed.fake_machine import FakeHost, FakePosture, hardened, roomy_gate
from tests.testbed.sealed_asker import chat
from tests.unit.provider.daemon.conftest import Gauge, write_model

MONDAY_NINE = datetime(2026, 11, 16, 9)


@pytest.fixture(autouse=True)
async def _limit():
    with trio.fail_after(30):
        yield


class WallClock:
    """Local time as a test sets it; the keeper looks often when a change is near."""

    def __init__(self):
        self.now = MONDAY_NINE + timedelta(hours=1, seconds=-0.5)

    def __call__(self):
        return self.now


@pytest.fixture
def scheduled(tmp_path):
    """A daemon that serves on Mondays from nine to ten, half a second before ten."""
    clock = WallClock()
    found = {"clock": clock, "home": tmp_path / "home", "engine": None}

    async def run(coordinator, *, script=None, task_status=trio.TASK_STATUS_IGNORED):
        from contextlib import asynccontextmanager

        @asynccontextmanager
        async def open_engine(_headroom, limits):
            async with FakeEngine.open(script, limits=limits) as engine:
                found["engine"] = engine
                yield engine

        settings = load_settings({"DARKBLOOM_HOME": str(found["home"]), "DARKBLOOM_SCHEDULE": "mon 09:00-10:00"})
        await run_daemon(
            DaemonOptions(
                models=(OfferedModel("bytes", write_model(tmp_path / "bytes")),),
                coordinator_url=coordinator.url,
                settings=settings.settings,
                owns_process=False,
            ),
            seams=DaemonSeams(
                harden=hardened,
                host=FakeHost(),
                posture=FakePosture(),
                open_engine=open_engine,
                load=lambda source: byte_model(source.model_id),
                memory=roomy_gate(),
                pressure=Gauge(),
                local_now=clock,
            ),
            task_status=task_status,
        )

    return found, run


async def state_where(home, condition):
    while True:
        state = read_state(home / "daemon-state.json")
        if state is not None and condition(state):
            return state
        await trio.sleep(0.01)


async def test_a_closing_window_lets_requests_end_then_leaves_and_unloads(scheduled):
    found, run = scheduled
    slow = lambda request: Script() if request.warm_up else Script(pieces=("a",) * 30, delay=0.01)  # noqa: E731
    async with FakeCoordinator.open(loopback=True) as coordinator, trio.open_nursery() as nursery:
        control = await nursery.start(lambda task_status: run(coordinator, script=slow, task_status=task_status))
        connection = await coordinator.connection()
        await connection.wait(Register)
        await connection.ask("r1", chat())
        while not control.in_flight:
            await trio.sleep(0.01)
        found["clock"].now = MONDAY_NINE + timedelta(hours=1, seconds=1)
        draining = await connection.wait(Heartbeat, where=lambda beat: beat.status == "draining")
        assert draining.status == "draining"
        heard = await connection.answer("r1")
        assert heard.text == "a" * 30
        barrier = await connection.wait(ProviderDrain)
        await connection.send(ProviderDrainAck(request_id=barrier.request_id))
        await connection.wait_end()
        state = await state_where(found["home"], lambda state: state.phase == "paused" and not state.slots)
        assert (state.schedule.mode, state.connectivity.connected) == ("scheduled-off", False)
        assert state.schedule.next_change_at == (MONDAY_NINE + timedelta(days=7)).timestamp()
        assert len(coordinator.connections) == 1
        nursery.cancel_scope.cancel()


async def test_a_daemon_that_starts_outside_its_window_does_not_connect(scheduled):
    found, run = scheduled
    found["clock"].now = MONDAY_NINE + timedelta(hours=-1)
    async with FakeCoordinator.open(loopback=True) as coordinator, trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: run(coordinator, task_status=task_status))
        await state_where(found["home"], lambda state: state.phase == "paused")
        assert coordinator.connections == []
        assert found["engine"].snapshot().slots == ()
        nursery.cancel_scope.cancel()


async def test_a_new_token_is_sent_in_a_new_registration_after_running_requests(open_daemon):
    slow = lambda request: Script() if request.warm_up else Script(pieces=("a",) * 20, delay=0.01)  # noqa: E731
    async with open_daemon(slow) as daemon:
        first = await daemon.coordinator.connection()
        assert (await first.wait(Register)).auth_token == ""
        await first.ask("r1", chat())
        while not daemon.control.in_flight:
            await trio.sleep(0.01)
        token = daemon.home / "auth_token"
        token.write_text("new-token\n")
        token.chmod(0o600)
        await trio.to_thread.run_sync(lambda: ask(daemon.home, ReloadAuth()))
        assert (await first.answer("r1")).text == "a" * 20
        barrier = await first.wait(ProviderDrain)
        await first.send(ProviderDrainAck(request_id=barrier.request_id))
        second = await daemon.coordinator.connection(2)
        assert (await second.wait(Register)).auth_token == "new-token"
        await second.ask("r2", chat())
        assert (await second.answer("r2")).terminal.usage.completion_tokens == 21


async def test_an_order_to_drain_ends_the_daemon_and_a_second_one_does_not_force(open_daemon):
    slow = lambda request: Script() if request.warm_up else Script(pieces=("a",) * 30, delay=0.01)  # noqa: E731
    async with open_daemon(slow) as daemon:
        connection = await daemon.coordinator.connection()
        await connection.ask("r1", chat())
        while not daemon.control.in_flight:
            await trio.sleep(0.01)
        for _ in range(2):
            answer = await trio.to_thread.run_sync(lambda: ask(daemon.home, Drain()))
            assert (answer.done, answer.in_flight) == (True, 1)
        assert (await connection.answer("r1")).text == "a" * 30
        barrier = await connection.wait(ProviderDrain)
        await connection.send(ProviderDrainAck(request_id=barrier.request_id))
        await daemon.ended.wait()
        assert daemon.code == 0


async def test_a_forced_end_gives_requests_their_terminal(open_daemon):
    slow = lambda request: Script() if request.warm_up else Script(pieces=("a",) * 5000, delay=0.01)  # noqa: E731
    async with open_daemon(slow) as daemon:
        connection = await daemon.coordinator.connection()
        await connection.ask("r1", chat())
        while not daemon.control.in_flight:
            await trio.sleep(0.01)
        await trio.to_thread.run_sync(lambda: ask(daemon.home, Drain(force=True)))
        heard = await connection.answer("r1")
        assert heard.kinds[-1] in ("complete", "error")
        barrier = await connection.wait(ProviderDrain)
        await connection.send(ProviderDrainAck(request_id=barrier.request_id))
        await daemon.ended.wait()


async def test_the_state_names_link_trust_and_models(open_daemon):
    async with open_daemon(models=("bytes", "other"), settings={"DARKBLOOM_MAX_MODEL_SLOTS": "1"}) as daemon:
        state = await state_where(daemon.home, lambda state: state.connectivity.registered)
        assert (state.phase, state.pid) == ("serving", os.getpid())
        assert set(state.advertised_models) == {"bytes", "other"}
        assert len(state.slots) == 1
        assert state.identity.provider_name == "darkbloom-test-box"
        assert state.connectivity.coordinator == f"{daemon.coordinator.url}/ws/provider"
        assert "bytes" not in state.identity.public_key


async def test_what_is_preloaded_is_what_is_configured_then_what_was_loaded_then_the_largest(tmp_path):
    offered = ("big", "middle", "small")
    assert choose_preload(offered, wanted=("small", "gone"), noted=("big",), slots=3) == ("small",)
    assert choose_preload(offered, wanted=(), noted=("small", "middle"), slots=3) == ("middle", "small")
    assert choose_preload(offered, wanted=(), noted=(), slots=2) == ("big", "middle")
    path = tmp_path / "loaded-models.json"
    assert read_loaded(path) == ()
    note_loaded(path, ("a", "b"))
    assert read_loaded(path) == ("a", "b")
    path.write_text("{")
    assert read_loaded(path) == ()


def dead_state(**changes):
    base = DaemonState(
        pid=2**22 - 1,
        process_start="1",
        version="0",
        written_at=1000.0,
        started_at=900.0,
        refresh_seconds=2.5,
        phase="serving",
    )
    return msgspec.structs.replace(base, **changes)


async def test_only_an_end_without_a_stop_counts_as_a_crash(tmp_path):
    path = tmp_path / "state.json"
    assert last_crash(path, now=2000) is None
    write_state(path, dead_state())
    assert last_crash(path, now=2000) == 1000.0
    assert last_crash(path, now=1000 + 86401) is None
    write_state(path, dead_state(stopped_at=1000.0))
    assert last_crash(path, now=2000) is None
    write_state(path, dead_state(stopped_at=1500.0, previous_crash_at=700.0))
    assert last_crash(path, now=2000) == 700.0
