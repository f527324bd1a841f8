"""PostgreSQL goes away under load and comes back: clear refusals meanwhile, nothing lost, service by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import trio

from tests.testbed.coordinator import Coordinator, Launch
from tests.testbed.money_ask import COST, PIECES, Said, answering, ask
from tests.testbed.money_bank import own_server, postgres_bank
from tests.testbed.money_people import DOLLAR, LinkedProvider, People, Person
from tests.testbed.needs import absent
from tests.testbed.postgres_server import NoServer, PostgresServer
from tests.testbed.waiting import until

ASKING, STREAMS = 4, 4
OUTAGES = 2
AWAY_SECONDS = 1.5
MOST_CONNECTIONS = 30
"""The pools of one coordinator together; its listener for changes, and this test's own, come on top."""

SETTINGS = {"DARKBLOOM_RATE_LIMIT_RPS": "0", "DARKBLOOM_RATE_LIMIT_ITPM": "0", "DARKBLOOM_RATE_LIMIT_OTPM": "0"}


@pytest.fixture
def database() -> Iterator[PostgresServer]:
    """A server of this test's own."""
    try:
        server = own_server()
    except NoServer as problem:
        absent(problem)
    yield server
    server.stop(keep=False)


class Load:
    """People who ask again and again; `refused` holds every answer that was no success."""

    def __init__(self, server: Coordinator) -> None:
        self.server = server
        self.stopping = False
        self.complete: Counter[str] = Counter()
        self.refused: list[Said] = []
        self.broken: list[Said] = []

    async def ask(self, person: Person, prompt: str, on_begun: Callable[[str], None] = lambda _: None) -> None:
        """Ask once and note what came of it; `on_begun` hears whose stream has begun."""
        begun = partial(on_begun, person.account)
        said = await ask(self.server.port, person, prompt, max_tokens=PIECES, on_begun=begun)
        if said.status != 200:
            self.refused.append(said)
        elif said.events[-1] != "[DONE]":
            self.broken.append(said)
        else:
            self.complete[person.account] += 1

    async def go_on(self, person: Person) -> None:
        """Ask until told to stop."""
        while not self.stopping:
            await self.ask(person, "ask")
            await trio.sleep(0.03)


async def readiness(server: Coordinator) -> tuple[int, object]:
    """Give status and reason of `/readyz`."""
    answer = await server.get("/readyz", None)
    return answer.status_code, answer.json().get("health_reason")


async def becomes(server: Coordinator, status: int, seconds: float) -> None:
    """Wait until `/readyz` says so."""
    with trio.fail_after(seconds):
        while (await readiness(server))[0] != status:
            await trio.sleep(0.05)


async def test_the_database_goes_away_and_comes_back(database: PostgresServer, launch: Launch) -> None:
    bank = postgres_bank(database)
    await bank.migrate()
    async with bank.people() as people:
        asking = [await people.join(f"asks-{n}", credit=DOLLAR) for n in range(ASKING)]
        strangers = [await people.join(f"stranger-{n}", credit=DOLLAR) for n in range(OUTAGES)]
        owner = await people.join("owner")
    machine = LinkedProvider(answering=answering, decode_tps=1000.0).owned_by(owner)
    async with launch(SETTINGS | bank.settings) as server, machine.session(server.link_url):
        load = Load(server)
        async with trio.open_nursery() as nursery:
            for person in asking:
                nursery.start_soon(load.go_on, person)
            for stranger in strangers:
                await until(lambda: len(load.complete) >= ASKING)
                await _outage(database, load, nursery, asking, stranger)
            load.stopping = True
        async with bank.people() as people:
            await _nothing_is_lost(people, load, [*asking, *strangers], owner)
            await _no_connection_leaked(people)
        assert await readiness(server) == (200, None)
        errors = [line for line in server.lines() if line["level"] == "error"]
    assert errors == []
    assert load.broken == []
    assert load.refused
    for said in load.refused:
        assert said.status in (429, 503), said.events
        assert int(said.head.headers["retry-after"]) >= 1
        assert said.error["type"] in ("service_unavailable", "rate_limit_exceeded")


async def _outage(
    database: PostgresServer, load: Load, nursery: trio.Nursery, asking: list[Person], stranger: Person
) -> None:
    """Stop the server while streams run, look, and start it again."""
    begun: list[str] = []
    for person in asking[:STREAMS]:
        nursery.start_soon(load.ask, person, "paced", begun.append)
    await until(lambda: len(begun) == STREAMS)
    await trio.to_thread.run_sync(database.stop)
    before = len(load.refused)
    await becomes(load.server, 503, 15)
    assert (await readiness(load.server))[1] == "database"
    assert (await load.server.get("/health", None)).status_code == 200
    await load.ask(stranger, "ask")  # a key that nobody has looked up before
    await trio.sleep(AWAY_SECONDS)
    assert len(load.refused) > before
    await trio.to_thread.run_sync(database.start)
    await becomes(load.server, 200, 15)
    done = load.complete.total()
    await until(lambda: load.complete.total() >= done + ASKING, 20)
    await load.ask(stranger, "ask")


async def _nothing_is_lost(people: People, load: Load, everybody: list[Person], owner: Person) -> None:
    """Every answer is charged once, and every hold ends: what waited for the database was done when it came back."""
    with trio.fail_after(20):
        while (await people.audit()).open_holds:
            await trio.sleep(0.1)
    report = await people.audit()
    assert report.problems == ()
    assert report.held == 0
    for person in everybody:
        assert (await people.balance(person)).balance == DOLLAR - load.complete[person.account] * COST
    assert (await people.balance(owner)).withdrawable == load.complete.total() * COST


async def _no_connection_leaked(people: People) -> None:
    """The pools are within their bounds, and no connection stays inside a transaction."""
    sql = (
        "SELECT state, COUNT(*) AS number FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() GROUP BY state"
    )
    with trio.move_on_after(10):
        while True:
            states = {str(row["state"]): int(row["number"] or 0) for row in await people.rows(sql)}
            assert sum(states.values()) <= MOST_CONNECTIONS + 8, states
            # A background task may be in the middle of its own; a leaked one would be there for good.
            if not any("in transaction" in state for state in states):
                return
            await trio.sleep(0.2)
    raise AssertionError(f"A connection stayed inside a transaction: {states}")
