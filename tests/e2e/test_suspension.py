"""Suspending accounts under a running coordinator: what runs ends well and is paid for, what comes after is refused."""

from __future__ import annotations

from pathlib import Path

import httpx
import trio

from tests.testbed.coordinator import ADMIN_KEY, Coordinator, coordinator
from tests.testbed.money_ask import COST, Said, answering, ask
from tests.testbed.money_bank import sqlite_bank
from tests.testbed.money_people import DOLLAR, LinkedProvider, Person
from tests.testbed.sim_script import SessionScript


async def act(server: Coordinator, person: Person, path: str) -> None:
    """Suspend or resume somebody, as an administrator does."""
    async with httpx.AsyncClient(base_url=server.base_url, trust_env=False, verify=False) as client:
        answer = await client.post(
            f"/v1/admin/users/{person.account}/{path}",
            json={"reason": "a test"},
            headers={"authorization": f"Bearer {ADMIN_KEY}"},
            timeout=10,
        )
    assert answer.status_code == 200, answer.text


async def test_running_requests_end_and_new_ones_are_refused(tmp_path: Path) -> None:
    bank = sqlite_bank(tmp_path)
    await bank.migrate()
    settings = {"DARKBLOOM_ADMIN_KEYS": ADMIN_KEY, **bank.settings}
    async with coordinator(tmp_path, settings) as server, bank.people() as people:
        consumer, owner = await people.join("consumer", credit=DOLLAR), await people.join("owner")
        machine = LinkedProvider(answering=answering, script=SessionScript(heartbeat_seconds=3600)).owned_by(owner)
        async with machine.session(server.link_url):
            answers: list[Said] = []
            begun = trio.Event()

            async def run() -> None:
                answers.append(await ask(server.port, consumer, "paced", on_begun=begun.set))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(run)
                await begun.wait()
                await act(server, consumer, "suspend")
                await act(server, owner, "suspend")
                refused = await ask(server.port, consumer, stream=False)
                assert (refused.status, refused.error["code"]) == (403, "account_suspended")
                assert not answers, "the running request goes on"
            assert answers[0].events[-1] == "[DONE]"
            assert (await people.balance(consumer)).balance == DOLLAR - COST
            assert (await people.balance(owner)).withdrawable == COST, "the machine was linked when it was asked"

            await act(server, consumer, "resume")
            assert (await ask(server.port, consumer)).status == 200
            assert (await people.balance(consumer)).balance == DOLLAR - 2 * COST
            assert (await people.balance(owner)).withdrawable == COST, "an unlinked machine earns for nobody"
            await act(server, owner, "resume")
        async with machine.session(server.link_url):
            assert (await ask(server.port, consumer)).status == 200
            assert (await people.balance(owner)).withdrawable == 2 * COST
        await server.until_idle()
        report = await people.audit()
        assert (report.problems, report.open_holds) == ((), 0)
        assert [line for line in server.lines() if line["level"] == "error"] == []
