"""What becomes of running paid requests when the coordinator dies, or is asked to stop."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from protocol import codec
from protocol.messages.from_provider import InferenceComplete, Usage
from server.billing.balance import Balance
from tests.testbed.consumer import connect
from tests.testbed.coordinator import Coordinator, Launch
from tests.testbed.money_ask import COST, PATH, PIECES, PROMPT_TOKENS, Said, answering, ask, held, priced_body
from tests.testbed.money_bank import Bank, own_server, postgres_bank, sqlite_bank
from tests.testbed.money_people import DOLLAR, LinkedProvider, Person
from tests.testbed.needs import absent
from tests.testbed.postgres_server import NoServer, PostgresServer
from tests.testbed.sim_provider import MODEL
from tests.testbed.waiting import until

STREAMS = 12


@pytest.fixture(scope="module")
def server_of_postgres() -> Iterator[PostgresServer]:
    """One PostgreSQL server for the tests of this file."""
    try:
        server = own_server()
    except NoServer as problem:
        absent(problem)
    yield server
    server.stop(keep=False)


@pytest.fixture(params=["sqlite", "postgres"])
async def bank(request: pytest.FixtureRequest, tmp_path: Path) -> Bank:
    """A database with a schema."""
    if request.param == "sqlite":
        made = sqlite_bank(tmp_path)
    else:
        made = postgres_bank(request.getfixturevalue("server_of_postgres"))
    await made.migrate()
    return made


async def test_a_killed_coordinator_charges_nothing_for_what_it_had_not_settled(bank: Bank, launch: Launch) -> None:
    machine = LinkedProvider(answering=answering)
    async with bank.people() as people:
        consumer = await people.join(f"killed-{bank.kind}", credit=DOLLAR)
        owner = await people.join(f"killed-owner-{bank.kind}")
    async with (
        launch(bank.settings) as first,
        machine.owned_by(owner).session(first.link_url),
        connect(first.port) as connection,
    ):
        head = await connection.post(PATH, priced_body("endless"), {"authorization": f"Bearer {consumer.key}"})
        await connection.next_event()
        first.process.signal(signal.SIGKILL)
        await first.process.wait()
    async with bank.people() as people:
        assert (await people.balance(consumer)).held > 0
        assert [state for state, _ in await people.reservations(consumer)] == ["held"]
    async with launch(bank.settings) as second, machine.session(second.link_url):
        # With a file nobody else can have a request running; other coordinators may use a server.
        released = bank.kind == "sqlite"
        async with bank.people() as people:
            assert ((await people.balance(consumer)).held == 0) is released
            late = InferenceComplete(
                request_id=head.headers["x-inference-job-id"],
                usage=Usage(prompt_tokens=PROMPT_TOKENS, completion_tokens=PIECES),
            )
            assert machine.wire is not None
            await machine.wire.send_text(codec.encode(late))
            await machine.barrier()
            assert await people.usage(consumer) == []
            assert (await people.balance(owner)).balance == 0
        assert (await ask(second.port, consumer)).status == 200
    assert await bank.after_grace() == []
    async with bank.people() as people:
        assert await people.reservations(consumer) == [("released", None), ("settled", COST)]
        assert await people.balance(consumer) == Balance(DOLLAR - COST, 0, 0, 0)
        assert await people.balance(owner) == Balance(COST, COST, 0, 0)


@pytest.mark.parametrize("patient", [True, False], ids=["drains", "cuts"])
async def test_a_coordinator_that_stops_settles_everything_first(bank: Bank, launch: Launch, patient: bool) -> None:
    machine = LinkedProvider(answering=answering, decode_tps=1000.0)
    async with bank.people() as people:
        consumer = await people.join(f"stopped-{bank.kind}-{patient}", credit=DOLLAR)
        owner = await people.join(f"stopped-owner-{bank.kind}-{patient}")
    answers: list[Said] = []
    settings = bank.settings | {"DARKBLOOM_DRAIN_GRACE": "60s" if patient else "0s"}
    async with launch(settings) as server:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(machine.owned_by(owner).stay, server.link_url)
            await server.routable(MODEL)
            async with trio.open_nursery() as asking:
                for _ in range(STREAMS):
                    asking.start_soon(_ask, server, consumer, answers)
                await until(lambda: sum(1 for sent in machine.sent.values() if sent > 5) == STREAMS)
                async with bank.people() as people:
                    await held(people, consumer)
                server.process.signal(signal.SIGTERM)
            assert await server.process.wait() == 0
            nursery.cancel_scope.cancel()
        assert [line for line in server.lines() if line["level"] == "error"] == []
    assert len(answers) == STREAMS
    paid = STREAMS if patient else 0
    assert sum(said.events[-1] == "[DONE]" for said in answers) == paid
    async with bank.people() as people:
        report = await people.audit()
        assert (report.problems, report.open_holds) == ((), 0)
        assert await people.balance(consumer) == Balance(DOLLAR - paid * COST, 0, 0, 0)
        assert (await people.balance(owner)).withdrawable == paid * COST
        states = {state for state, _ in await people.reservations(consumer)}
        assert states == {"settled" if patient else "released"}


async def _ask(server: Coordinator, consumer: Person, answers: list[Said]) -> None:
    answers.append(await ask(server.port, consumer, "paced", max_tokens=PIECES))
