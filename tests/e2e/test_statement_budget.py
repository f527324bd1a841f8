"""How many SQL statements a paid request takes in a whole coordinator, on both engines."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import trio

from protocol.settings import Secret
from server.config import CoordinatorSettings
from server.serve import books, open_coordinator
from server.store.open import open_configured_store
from tests.testbed.money_ask import COST, answering, ask
from tests.testbed.money_bank import own_server, postgres_bank, sqlite_bank
from tests.testbed.money_people import DOLLAR, LinkedProvider, People
from tests.testbed.needs import absent
from tests.testbed.postgres_server import NoServer, PostgresServer

MOST, MOST_FOR_THE_HOLD = 12, 4
WARM_UP, MEASURED = 3, 5
AROUND = ("BEGIN", "COMMIT", "ROLLBACK", "--", "SET ")


def transactions(heard: list[str]) -> list[list[str]]:
    """Split what was heard at each BEGIN, and leave out what only surrounds the statements."""
    found: list[list[str]] = [[]]
    for sql in heard:
        if sql.startswith("BEGIN"):
            found.append([])
        elif not sql.startswith(AROUND):
            found[-1].append(sql)
    return found


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_paid_request_stays_within_the_budget(
    kind: str, stream: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    monkeypatch.setattr(books, "open_configured_store", partial(open_configured_store, on_statement=heard.append))
    server: PostgresServer | None = None
    if kind == "postgres":
        try:
            server = own_server()
        except NoServer as problem:
            absent(problem)
    bank = sqlite_bank(tmp_path) if server is None else postgres_bank(server)
    settings = CoordinatorSettings(
        database_url=Secret(bank.url), min_trust="self_signed", allow_dev_attestation=True, strict_tasks=True
    )
    totals: list[int] = []
    holds: list[int] = []
    async with open_coordinator(settings) as coordinator, trio.open_nursery() as nursery:
        urls = await nursery.start(coordinator.listener.run, "127.0.0.1", 0)
        port = int(urls[0].rsplit(":", 1)[1])
        people = People(coordinator.books.store)
        consumer = await people.join("consumer", credit=DOLLAR)
        machine = LinkedProvider(answering=answering).owned_by(await people.join("owner"))
        async with machine.session(f"ws://127.0.0.1:{port}/ws/provider"):
            for number in range(WARM_UP + MEASURED):
                heard.clear()
                assert (await ask(port, consumer, stream=stream)).status == 200
                if number >= WARM_UP:
                    found = transactions(heard)
                    totals.append(sum(map(len, found)))
                    holds.append(next(len(one) for one in found if any("INTO reservations" in sql for sql in one)))
        assert (await people.balance(consumer)).balance == DOLLAR - (WARM_UP + MEASURED) * COST
        nursery.cancel_scope.cancel()
    if server is not None:
        server.stop(keep=False)
    # Now and then a background task puts in a word; it is not the request's.
    assert sorted(totals)[MEASURED // 2] <= MOST, totals
    assert max(holds) <= MOST_FOR_THE_HOLD, holds
