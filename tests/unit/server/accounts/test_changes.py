"""News of changed credentials travel through PostgreSQL when, and only when, the change is committed."""

from __future__ import annotations

import pytest
import trio

from server.accounts.changes import CHANNEL, Changes
from server.store import Store, Tx
from server.store.address import Postgres
from server.store.open import opened
from server.store.postgres import PostgresConnection, open_bridge
from tests.testbed.needs import absent
from tests.testbed.postgres_server import NoServer
from tests.testbed.store import postgres_database, ticking_clock
from tests.unit.server.accounts.people import KeyWorld, add_user


async def test_topics_reach_their_listeners_only(store: Store) -> None:
    heard: list[str] = []
    changes = Changes(store)
    changes.listen("key", lambda subject: heard.append(f"key {subject}"))
    changes.listen("account", lambda subject: heard.append(f"account {subject}"))
    for payload in ("key k1", "account a1", "session s1", "colour red", "", "key"):
        changes.heard(payload)
    assert heard == ["key k1", "account a1", "key "]


async def test_a_committed_change_is_heard_by_another_process() -> None:
    try:
        async with postgres_database() as url:
            await _hear(url)
    except NoServer as problem:
        absent(problem)


async def _hear(url: str) -> None:
    told, hear = trio.open_memory_channel[str](10)
    async with open_bridge() as bridge, opened(Postgres(url), wall_clock=ticking_clock()) as store:
        listener = await PostgresConnection.connect(bridge, url, {})

        def notified(_connection: object, _pid: int, _channel: str, payload: object) -> None:
            told.send_nowait(str(payload))

        await bridge.run(listener._connection.add_listener(CHANNEL, notified))
        world, other = KeyWorld(store), KeyWorld(store)
        ada = (await add_user(store)).account_id
        made = await world.desk.create(ada, {})

        async def announce_and_fail(tx: Tx) -> None:
            await world.changes.announce(tx, "key", "never committed")
            raise RuntimeError

        with pytest.raises(RuntimeError):
            await store.write(announce_and_fail)
        await other.keys.authenticate(made.secret)
        assert other.keys.recall(made.secret) is not None
        rotated = await world.desk.rotate(ada, made.key.id)
        await world.desk.revoke(ada, rotated.key.id)
        with trio.fail_after(10):
            payloads = [await hear.receive() for _ in range(2)]
        assert payloads == [f"key {made.key.id}", f"key {rotated.key.id}"]
        other.changes.heard(payloads[0])
        assert other.keys.recall(made.secret) is None
        assert made.secret not in "".join(payloads)
        await listener.close()
