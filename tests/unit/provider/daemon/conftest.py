"""A whole daemon with a scripted engine, in front of a coordinator played by the test over a loopback socket."""

import json
from contextlib import asynccontextmanager

import pytest
import trio

from provider.config import load_settings
from provider.daemon import DaemonOptions, DaemonSeams, OfferedModel, run_daemon
from provider.memory.pressure import Pressure
from tests.testbed.byte_model import byte_model
from tests.testbed.fake_coordinator import FakeCoordinator
from tests.testbed.fake_engine import FakeEngine
from tests.testbed.fake_machine import FakeHost, FakePosture, hardened, roomy_gate


def write_model(directory, config=None, weights=b"weights"):
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config or {"model_type": "llama", "quantization": {"bits": 4}}))
    (directory / "model.safetensors").write_bytes(weights)
    return directory


class Gauge:
    """Memory pressure as a test says."""

    def __init__(self):
        self.now = Pressure.NONE

    def level(self):
        return self.now


class Wakefulness:
    """Whether the machine may fall asleep."""

    def __init__(self):
        self.is_held = False
        self.holds = 0

    def hold(self):
        self.holds += not self.is_held
        self.is_held = True

    def release(self):
        self.is_held = False


class Running:
    """A daemon in the test's nursery; `code` is set at its end."""

    def __init__(self, home):
        self.home = home
        self.events = []
        self.code = None
        self.ended = trio.Event()
        self.control = None
        self.engine = None
        self.limits = None
        self.gauge = Gauge()
        self.wakefulness = Wakefulness()

    def kinds(self):
        return [event.kind for event in self.events]


@pytest.fixture
def open_daemon(tmp_path):
    @asynccontextmanager
    async def opened(script=None, *, models=("bytes",), settings=None, load=None, hardening=None, **options):
        async with FakeCoordinator.open(loopback=True) as coordinator, trio.open_nursery() as nursery:
            running = Running(tmp_path / "home")

            @asynccontextmanager
            async def open_engine(_headroom, limits):
                running.limits = limits
                async with FakeEngine.open(script, limits=limits) as engine:
                    running.engine = engine
                    yield engine

            async def run(task_status=trio.TASK_STATUS_IGNORED):
                running.code = await run_daemon(
                    DaemonOptions(
                        models=tuple(OfferedModel(name, write_model(tmp_path / name)) for name in models),
                        coordinator_url=coordinator.url,
                        settings=load_settings({"DARKBLOOM_HOME": str(running.home), **(settings or {})}).settings,
                        owns_process=False,
                        on_event=running.events.append,
                        **options,
                    ),
                    seams=DaemonSeams(
                        harden=lambda: hardening or hardened(),
                        host=FakeHost(),
                        posture=FakePosture(),
                        open_engine=open_engine,
                        load=load or (lambda source: byte_model(source.model_id)),
                        memory=roomy_gate(),
                        pressure=running.gauge,
                        wakefulness=running.wakefulness,
                    ),
                    task_status=task_status,
                )
                running.ended.set()

            running.run = run
            running.coordinator = coordinator
            running.control = await nursery.start(run)
            yield running
            nursery.cancel_scope.cancel()

    return opened
