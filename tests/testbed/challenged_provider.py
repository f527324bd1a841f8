"""A whole daemon whose real engine decodes many rows, and how long it takes to answer challenges meanwhile."""

from dataclasses import replace
from pathlib import Path

import trio

from protocol.messages.from_provider import (
    AttestationResponse,
    InferenceComplete,
    InferenceError,
    InferenceResponseChunk,
)
from protocol.messages.to_provider import AttestationChallenge
from provider.config import load_settings
from provider.daemon import DaemonOptions, DaemonSeams, OfferedModel, run_daemon
from provider.engine import LoadedModel
from provider.models.source import ModelSource, load_from_source
from tests.testbed.fake_coordinator import FakeConnection, FakeCoordinator
from tests.testbed.fake_machine import hardened

MODEL = "busy"
MAX_TOKENS = 3_500


def load_endless(source: ModelSource) -> LoadedModel:
    """A model that never ends an answer by itself."""
    return replace(load_from_source(source), eos_ids=frozenset())


async def challenge_seconds(directory: Path, home: Path, *, rows: int, challenges: int) -> list[float]:
    """Seconds from each challenge to its answer on a loopback connection, while `rows` requests decode and are sent."""
    settings = load_settings({"DARKBLOOM_HOME": str(home), "DARKBLOOM_MAX_CONCURRENT": str(rows)}).settings
    async with FakeCoordinator.open(loopback=True) as coordinator, trio.open_nursery() as nursery:
        options = DaemonOptions(
            models=(OfferedModel(MODEL, directory),),
            coordinator_url=coordinator.url,
            settings=settings,
            owns_process=False,
        )

        async def run(task_status: trio.TaskStatus[object]) -> None:
            await run_daemon(options, seams=DaemonSeams(harden=hardened, load=load_endless), task_status=task_status)

        await nursery.start(run)
        connection = await coordinator.connection()
        names = [f"r{row}" for row in range(rows)]
        for name in names:
            body = {"model": MODEL, "messages": [{"role": "user", "content": name}], "max_tokens": MAX_TOKENS}
            await connection.ask(name, body)
        while len({chunk.request_id for chunk in connection.of(InferenceResponseChunk)}) < rows:
            await connection.wait(InferenceResponseChunk, len(connection.of(InferenceResponseChunk)) + 1)
        taken = [await _answered(connection, f"challenge-{number}") for number in range(challenges)]
        nursery.cancel_scope.cancel()
    return taken


async def _answered(connection: FakeConnection, nonce: str) -> float:
    sent = trio.current_time()
    await connection.send(AttestationChallenge(nonce=nonce, timestamp="2026-07-01T00:00:00Z"))
    await connection.wait(AttestationResponse, where=lambda answer: answer.nonce == nonce)
    taken = trio.current_time() - sent
    assert not [*connection.of(InferenceComplete), *connection.of(InferenceError)], "a row has ended"
    connection.messages.clear()  # whoever waits looks through all of them
    connection.times.clear()
    return taken
