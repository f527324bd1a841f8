"""A hundred paid streams while consumers, machines and the coordinator are killed: the books are perfect afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trio

from tests.testbed.coordinator import Coordinator, Launch
from tests.testbed.money_bank import Bank, own_server, postgres_bank, sqlite_bank
from tests.testbed.money_storm import SETTINGS, Storm
from tests.testbed.needs import absent
from tests.testbed.postgres_server import NoServer

STREAMS, KILLS = 100, 2
LIMIT_SECONDS = 120.0


@pytest.fixture(params=["sqlite", "postgres"])
def bank(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bank]:
    """A database with a schema, on either engine."""
    if request.param == "sqlite":
        made = sqlite_bank(tmp_path)
        trio.run(made.migrate)
        yield made
        return
    try:
        server = own_server()
    except NoServer as problem:
        absent(problem)
    made = postgres_bank(server)
    trio.run(made.migrate)
    yield made
    server.stop(keep=False)


@pytest.mark.parametrize("seed", [7, *[pytest.param(seed, marks=pytest.mark.nightly) for seed in range(20, 30)]])
async def test_after_the_storm_the_books_are_perfect(bank: Bank, launch: Launch, seed: int) -> None:
    def start(port: int) -> AbstractAsyncContextManager[Coordinator]:
        return launch(SETTINGS | bank.settings, port=port)

    storm = Storm(bank, seed)
    with trio.fail_after(LIMIT_SECONDS):
        await storm.run(start, streams=STREAMS, kills=KILLS)
    assert storm.problems == [], storm.counts
    assert len(storm.answered) >= STREAMS // 10, storm.counts
    assert storm.counts["machine killed"] > 0
