"""A daemon without a coordinator: scripted engine, real local server on a loopback port."""

import json
from contextlib import asynccontextmanager

import httpx
import pytest
import trio

from provider.config import load_settings
from provider.daemon import DaemonOptions, DaemonSeams, OfferedModel, run_daemon
from provider.local import LocalOptions
from provider.memory.pressure import Pressure
from tests.testbed.byte_model import byte_model
from tests.testbed.fake_engine import FakeEngine
from tests.testbed.fake_machine import FakeHost, FakePosture, hardened, roomy_gate

TOKEN = "dk-local-" + "a" * 43


class Quiet:
    def level(self):
        return Pressure.NONE


def write_model(directory):
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps({"model_type": "llama", "quantization": {"bits": 4}}))
    (directory / "model.safetensors").write_bytes(b"weights")
    return directory


class LocalDaemon:
    """`http` is a client with the token; `code` is set at the end."""

    def __init__(self, home):
        self.home = home
        self.engine = None
        self.control = None
        self.code = None
        self.url = ""
        self.http = None
        self.ended = trio.Event()

    async def chat(self, **fields):
        body = {"model": "bytes", "messages": [{"role": "user", "content": "hi"}], **fields}
        return await self.http.post("/v1/chat/completions", json=body)


@pytest.fixture
def open_local(tmp_path):
    @asynccontextmanager
    async def opened(script=None, *, models=("bytes",), options=None, settings=None, load=None):
        found = LocalDaemon(tmp_path / "home")

        @asynccontextmanager
        async def open_engine(_headroom, limits):
            async with FakeEngine.open(script, limits=limits) as engine:
                found.engine = engine
                yield engine

        async def run(task_status=trio.TASK_STATUS_IGNORED):
            found.code = await run_daemon(
                DaemonOptions(
                    models=tuple(OfferedModel(name, write_model(tmp_path / name)) for name in models),
                    settings=load_settings({"DARKBLOOM_HOME": str(found.home), **(settings or {})}).settings,
                    uses_coordinator=False,
                    local=options or LocalOptions(port=0, token=TOKEN, is_required=True),
                    owns_process=False,
                ),
                seams=DaemonSeams(
                    harden=hardened,
                    host=FakeHost(),
                    posture=FakePosture(),
                    open_engine=open_engine,
                    load=load or (lambda source: byte_model(source.model_id)),
                    memory=roomy_gate(),
                    pressure=Quiet(),
                ),
                task_status=task_status,
            )
            found.ended.set()

        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                found.control = await nursery.start(run)
                found.url = found.control.local_url
                async with httpx.AsyncClient(
                    base_url=found.url, headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False, timeout=20
                ) as http:
                    found.http = http
                    yield found
                nursery.cancel_scope.cancel()

    return opened
