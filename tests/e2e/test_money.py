"""Paid requests in a running coordinator, on both engines: what each way to end costs, and whom it pays."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import anthropic
import openai
import pytest
import trio

from server.billing.balance import Balance
from tests.testbed.consumer import connect
from tests.testbed.coordinator import Coordinator, parse_log
from tests.testbed.money_ask import COST, PATH, PIECES, PROMPT_TOKENS, answering, ask, closed, held, priced_body
from tests.testbed.money_bank import Bank, own_server, postgres_bank, sqlite_bank
from tests.testbed.money_people import DOLLAR, LinkedProvider, People, Person
from tests.testbed.needs import absent
from tests.testbed.postgres_server import NoServer
from tests.testbed.shared import SharedCoordinators
from tests.testbed.sim_provider import MODEL
from tests.testbed.sim_script import Answer, FaultScript, SessionScript

GRACE_SECONDS = 1.0
SETTINGS = {"DARKBLOOM_SETTLE_GRACE": f"{GRACE_SECONDS:.0f}s"}
_names = (f"person-{number}" for number in itertools.count())


@dataclass
class Scene:
    """A coordinator, its database, and hands on both."""

    bank: Bank
    server: Coordinator
    people: People

    async def join(self, *, credit: int = DOLLAR, **key: int | str | None) -> Person:
        """Make a person with a dollar."""
        return await self.people.join(next(_names), credit=credit, key=key)

    def machine(self, owner: Person | None = None) -> LinkedProvider:
        """Make a machine of a person."""
        machine = LinkedProvider(answering=answering, script=SessionScript(heartbeat_seconds=3600))
        return machine if owner is None else machine.owned_by(owner)

    async def earned(self, person: Person) -> int:
        """Give what a person's machines have earned."""
        return (await self.people.balance(person)).withdrawable


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def till(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Bank, Coordinator]]:
    """One coordinator for all scenarios of an engine."""
    folder = tmp_path_factory.mktemp(f"money-{request.param}")
    with ExitStack() as stack:
        if request.param == "sqlite":
            bank = sqlite_bank(folder)
        else:
            try:
                server = own_server()
            except NoServer as problem:
                absent(problem)
            stack.callback(server.stop, keep=False)
            bank = postgres_bank(server)
        trio.run(bank.migrate)
        coordinators = SharedCoordinators(folder)
        stack.callback(coordinators.stop)
        yield bank, coordinators.get("money", {**SETTINGS, **bank.settings})


@pytest.fixture
async def scene(till: tuple[Bank, Coordinator]) -> AsyncIterator[Scene]:
    """Everything for one scenario, which must leave perfect books, nothing open, and no line of level error."""
    bank, server = till
    before = len(server.process.text())
    async with bank.people() as people:
        yield Scene(bank, server, people)
        await server.until_idle()
        report = await people.audit()
    assert report.problems == ()
    assert (report.open_holds, report.held) == (0, 0)
    assert [line for line in parse_log(server.process.text()[before:]) if line["level"] == "error"] == []


@pytest.mark.parametrize("stream", [True, False])
async def test_a_request_is_charged_and_its_machine_is_paid(scene: Scene, stream: bool) -> None:
    consumer, owner = await scene.join(), await scene.join(credit=0)
    async with scene.machine(owner).session(scene.server.link_url):
        said = await ask(scene.server.port, consumer, stream=stream)
        # Right after the end of the answer, not some time later.
        (used,) = await scene.people.usage(consumer)
    assert said.status == 200
    assert said.head.headers["x-ratelimit-limit-requests"]
    assert used["cost_micro_usd"] == COST
    assert (used["prompt_tokens"], used["completion_tokens"]) == (PROMPT_TOKENS, PIECES)
    assert (used["key_id"], used["private"]) == (consumer.key_id, 0)
    assert await scene.people.balance(consumer) == Balance(DOLLAR - COST, 0, 0, 0)
    assert await scene.people.balance(owner) == Balance(COST, COST, 0, 0)
    (earning,) = await scene.people.rows("SELECT * FROM provider_earnings WHERE account_id = $1", owner.account)
    assert (earning["amount_micro_usd"], earning["job_id"]) == (COST, used["request_id"])


async def test_while_a_request_runs_its_money_is_held(scene: Scene) -> None:
    consumer = await scene.join()
    async with scene.machine().session(scene.server.link_url), connect(scene.server.port) as connection:
        await connection.post(PATH, priced_body("endless"), {"authorization": f"Bearer {consumer.key}"})
        balance = await scene.people.balance(consumer)
        assert balance.balance == DOLLAR
        assert balance.held >= 8192 * 200_000 // DOLLAR  # the output bound at the fallback price
        await connection.half_close()
        await closed(scene.people, consumer)


async def test_too_little_money_is_402_and_asks_no_machine(scene: Scene) -> None:
    consumer = await scene.join(credit=1000)
    machine = scene.machine()
    async with machine.session(scene.server.link_url):
        said = await ask(scene.server.port, consumer)
        assert (said.status, said.error["type"], said.error["code"]) == (
            402,
            "insufficient_funds",
            "insufficient_quota",
        )
        assert "x-ratelimit-limit-requests" in said.head.headers
        assert machine.heard("request") == []
        assert (await ask(scene.server.port, consumer, max_tokens=PIECES)).status == 200
    assert await scene.people.balance(consumer) == Balance(1000 - COST, 0, 0, 0)


async def test_a_key_with_a_cap_is_402_where_the_account_is_rich(scene: Scene) -> None:
    consumer = await scene.join(limit_micro_usd=1000, limit_reset="daily")
    async with scene.machine().session(scene.server.link_url):
        said = await ask(scene.server.port, consumer)
        assert (said.status, said.error["type"]) == (402, "insufficient_quota")
        assert "daily cap $" in said.error["message"]
        assert (await ask(scene.server.port, consumer, max_tokens=PIECES)).status == 200
    assert (await scene.people.balance(consumer)).balance == DOLLAR - COST


@pytest.mark.parametrize(("prompt", "status"), [("fail", 502), ("break", 200)])
async def test_an_error_of_the_machine_costs_nothing(scene: Scene, prompt: str, status: int) -> None:
    consumer, owner = await scene.join(), await scene.join(credit=0)
    async with scene.machine(owner).session(scene.server.link_url):
        said = await ask(scene.server.port, consumer, prompt)
        assert said.status == status
        assert said.error["type"] == "provider_error"
        await closed(scene.people, consumer)
    assert await scene.people.balance(consumer) == Balance(DOLLAR, 0, 0, 0)
    assert await scene.people.reservations(consumer) == [("released", None)]
    assert await scene.people.usage(consumer) == []
    assert await scene.earned(owner) == 0


async def test_a_consumer_who_leaves_pays_for_what_the_machine_reports(scene: Scene) -> None:
    consumer, owner = await scene.join(), await scene.join(credit=0)
    async with scene.machine(owner).session(scene.server.link_url):
        async with connect(scene.server.port) as connection:
            await connection.post(PATH, priced_body("endless"), {"authorization": f"Bearer {consumer.key}"})
            for _ in range(5):
                await connection.next_event()
            connection.vanish()
        await closed(scene.people, consumer)
    (used,) = await scene.people.usage(consumer)
    assert 3 <= int(used["completion_tokens"] or 0) < PIECES
    cost = int(used["cost_micro_usd"] or 0)
    assert cost > 0
    assert (await scene.people.balance(consumer)).balance == DOLLAR - cost
    assert await scene.earned(owner) == cost


async def test_a_machine_that_is_silent_after_a_cancel_earns_nothing(scene: Scene) -> None:
    consumer, owner = await scene.join(), await scene.join(credit=0)
    async with scene.machine(owner).session(scene.server.link_url):
        async with connect(scene.server.port) as connection:
            await connection.post(PATH, priced_body("mute"), {"authorization": f"Bearer {consumer.key}"})
            await connection.next_event()
            connection.vanish()
        await held(scene.people, consumer, 0.5)  # the grace runs
        await closed(scene.people, consumer, GRACE_SECONDS + 5)
    assert await scene.people.balance(consumer) == Balance(DOLLAR, 0, 0, 0)
    assert await scene.people.usage(consumer) == []
    assert await scene.earned(owner) == 0


async def test_a_consumer_who_reads_too_slowly_pays_for_what_the_machine_reports(scene: Scene) -> None:
    consumer, owner = await scene.join(), await scene.join(credit=0)
    async with (
        scene.machine(owner).session(scene.server.link_url),
        connect(scene.server.port, receive_buffer=4096) as connection,
    ):
        await connection.post(PATH, priced_body("wide"), {"authorization": f"Bearer {consumer.key}"})
        await closed(scene.people, consumer, 30)
    (used,) = await scene.people.usage(consumer)
    cost = int(used["cost_micro_usd"] or 0)
    assert cost > 0
    assert (await scene.people.balance(consumer)).balance == DOLLAR - cost
    assert await scene.earned(owner) == cost


async def test_after_a_failover_only_the_machine_that_answered_is_paid(scene: Scene) -> None:
    consumer = await scene.join()
    owners = [await scene.join(credit=0), await scene.join(credit=0)]
    machines = [scene.machine(owner) for owner in owners]
    asked: list[int] = []

    for index, machine in enumerate(machines):

        def first_fails(body: object, index: int = index) -> object:
            asked.append(index)
            prompt = "fail" if len(asked) == 1 else "ask"
            return answering({"messages": [{"content": prompt}]})

        machine.answering = first_fails  # type: ignore[assignment]
    async with machines[0].session(scene.server.link_url), machines[1].session(scene.server.link_url):
        assert (await ask(scene.server.port, consumer)).status == 200
    assert len(asked) == 2
    assert await scene.earned(owners[asked[0]]) == 0
    assert await scene.earned(owners[asked[1]]) == COST
    assert await scene.people.reservations(consumer) == [("settled", COST)]


async def test_of_two_machines_that_race_only_the_winner_is_paid(scene: Scene) -> None:
    consumer = await scene.join()
    owners = [await scene.join(credit=0), await scene.join(credit=0)]
    machines = [scene.machine(owner) for owner in owners]
    asked: list[int] = []
    for index, machine in enumerate(machines):

        def first_stalls(body: Mapping[str, Any], index: int = index) -> tuple[Answer, FaultScript]:
            asked.append(index)
            answer, script = answering(body)
            return answer, FaultScript(stall_at=0, preamble=False) if len(asked) == 1 else script

        machine.answering = first_stalls
    held: list[int] = []
    async with (
        machines[0].session(scene.server.link_url),
        machines[1].session(scene.server.link_url),
        trio.open_nursery() as nursery,
    ):

        async def watch() -> None:
            while True:
                held.append((await scene.people.balance(consumer)).held)
                await trio.sleep(0.02)

        nursery.start_soon(watch)
        said = await ask(scene.server.port, consumer)
        nursery.cancel_scope.cancel()
    assert (said.status, said.text) == (200, "word " * PIECES)
    assert len(asked) == 2
    loser, winner = machines[asked[0]], machines[asked[1]]
    assert loser.heard("cancel") == [("cancel", loser.heard("request")[0][1])]
    assert said.head.headers["x-inference-job-id"] == winner.heard("request")[0][1]
    assert await scene.earned(owners[asked[0]]) == 0
    assert await scene.earned(owners[asked[1]]) == COST
    assert await scene.people.balance(consumer) == Balance(DOLLAR - COST, 0, 0, 0)
    assert await scene.people.reservations(consumer) == [("settled", COST)]
    # One hold carried both: it was never larger than that of one dispatch.
    assert len(set(held) - {0}) == 1


async def test_a_machine_that_is_too_dear_is_passed_over(scene: Scene) -> None:
    consumer = await scene.join(credit=1000)
    dear, fair = await scene.join(credit=0), await scene.join(credit=0)
    await scene.people.price(dear.account, MODEL, 10 * DOLLAR)
    expensive = scene.machine(dear)
    async with expensive.session(scene.server.link_url):
        said = await ask(scene.server.port, consumer, max_tokens=PIECES)
        assert (said.status, said.error["type"], said.error["code"]) == (402, "provider_error", "provider_error")
        async with scene.machine(fair).session(scene.server.link_url):
            for _ in range(3):
                assert (await ask(scene.server.port, consumer, max_tokens=PIECES)).status == 200
    assert expensive.heard("request") == []
    assert await scene.earned(fair) == 3 * COST
    assert (await scene.people.balance(consumer)).balance == 1000 - 3 * COST


@pytest.mark.parametrize("route", ["self", "prefer", ""])
async def test_ones_own_machine_is_free(scene: Scene, route: str) -> None:
    owner = await scene.join(credit=0 if route == "self" else DOLLAR)
    headers = {"x-darkbloom-route": route} if route else {}
    async with scene.machine(owner).session(scene.server.link_url):
        said = await ask(scene.server.port, owner, headers=headers)
    assert said.status == 200
    before = 0 if route == "self" else DOLLAR
    assert await scene.people.balance(owner) == Balance(before, 0, 0, 0)
    (used,) = await scene.people.usage(owner)
    assert (used["cost_micro_usd"], used["private"]) == (0, 1)
    assert await scene.people.rows("SELECT 1 AS one FROM provider_earnings WHERE account_id = $1", owner.account) == []


async def test_a_request_for_ones_own_machine_alone_never_goes_elsewhere(scene: Scene) -> None:
    consumer, owner = await scene.join(), await scene.join(credit=0)
    machine = scene.machine(owner)
    async with machine.session(scene.server.link_url):
        said = await ask(scene.server.port, consumer, headers={"x-darkbloom-route": "self"})
        assert said.status == 503
        assert machine.heard("request") == []
        assert (await ask(scene.server.port, consumer, headers={"x-darkbloom-route": "prefer"})).status == 200
    assert (await scene.people.balance(consumer)).balance == DOLLAR - COST
    assert await scene.earned(owner) == COST


async def test_a_revoked_token_unlinks_the_machine_that_is_connected(scene: Scene) -> None:
    consumer, owner = await scene.join(), await scene.join(credit=0)
    machine = scene.machine(owner)
    async with machine.session(scene.server.link_url):
        assert (await ask(scene.server.port, consumer)).status == 200
        async with connect(scene.server.port) as connection:
            await connection.request("DELETE", "/v1/device/token", b"", {"authorization": f"Bearer {owner.token}"})
            head = await connection.head()
            assert head.status < 300
        assert (await ask(scene.server.port, consumer)).status == 200
        assert not machine.heard("closed")
    assert await scene.earned(owner) == COST
    assert (await scene.people.balance(consumer)).balance == DOLLAR - 2 * COST


async def test_many_at_once_spend_no_more_than_there_is(scene: Scene) -> None:
    asking, credit = 12, 600
    consumer = await scene.join(credit=credit)
    statuses: list[int] = []

    async def one() -> None:
        statuses.append((await ask(scene.server.port, consumer, "paced", max_tokens=PIECES)).status)

    async with scene.machine().session(scene.server.link_url), trio.open_nursery() as nursery:
        for _ in range(asking):
            nursery.start_soon(one)
    # A bounded request reserves about what it costs, so five fit at once; the others are refused, not run for nothing.
    assert set(statuses) == {200, 402}
    assert statuses.count(200) == credit // COST
    assert (await scene.people.balance(consumer)).balance == credit - credit // COST * COST


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
async def test_every_api_leaves_one_row_and_tells_its_client_of_empty_pockets(scene: Scene) -> None:
    consumer, pauper = await scene.join(), await scene.join(credit=0)
    bound: Any = {"model": MODEL, "max_tokens": PIECES}
    prompt = f"ask {'x' * PROMPT_TOKENS}"
    said: Any = {"messages": [{"role": "user", "content": prompt}]}

    def clients(person: Person) -> tuple[openai.AsyncOpenAI, anthropic.AsyncAnthropic]:
        url = scene.server.base_url
        return (
            openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=person.key, max_retries=0),
            anthropic.AsyncAnthropic(base_url=url, api_key=person.key, max_retries=0),
        )

    async with scene.machine().session(scene.server.link_url):
        one, two = clients(consumer)
        async with one, two:
            await one.chat.completions.create(**bound, **said)
            await one.completions.create(**bound, prompt=prompt)
            await one.responses.create(model=MODEL, max_output_tokens=PIECES, input=prompt)
            async with two.messages.stream(**bound, **said) as stream:
                await stream.get_final_message()
        rows = await scene.people.usage(consumer)
        one, two = clients(pauper)
        async with one, two:
            with pytest.raises(openai.APIStatusError) as from_openai:
                await one.responses.create(model=MODEL, input=prompt)
            with pytest.raises(anthropic.APIStatusError) as from_anthropic:
                await two.messages.create(**bound, **said)
    assert [row["cost_micro_usd"] for row in rows] == [COST] * 4
    assert await scene.people.balance(consumer) == Balance(DOLLAR - 4 * COST, 0, 0, 0)
    assert (from_openai.value.status_code, from_openai.value.code) == (402, "insufficient_quota")
    assert (from_anthropic.value.status_code, from_anthropic.value.type) == (402, "billing_error")
