"""Listening on PostgreSQL: order, gaps, broken and silent connections, floods, and a server that comes back."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from server.store import Listening, Store, Tx
from server.store import postgres_listener as module
from server.store.address import Postgres
from server.store.deadline import ConnectionLost
from server.store.open import opened
from server.store.postgres import MAX_NOTICES, Notices
from server.store.postgres_store import PostgresStore
from tests.testbed.postgres_server import PostgresServer
from tests.testbed.store import ticking_clock

CHANNEL = "test Channel"
GAP = "-- gap"
NOTIFY = "SELECT pg_notify(CAST($1 AS TEXT), CAST($2 AS TEXT)) IS NULL AS told"
LISTENERS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'darkbloom-coordinator listener'"


class Ears:
    """What was heard, in order, with a mark for each time that something may have been lost."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def missed(self) -> None:
        self.heard.append(GAP)

    async def until(self, *wanted: str) -> None:
        """Wait until exactly this was heard since the last call."""
        with trio.fail_after(10):
            while len(self.heard) < len(wanted):
                await wait_all_tasks_blocked(0.005)
        assert self.heard == list(wanted)
        self.heard.clear()


@asynccontextmanager
async def listening(store: PostgresStore) -> AsyncGenerator[Ears, None]:
    ears = Ears()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.listen, CHANNEL, ears.heard.append, ears.missed)
        await ears.until(GAP)
        yield ears
        nursery.cancel_scope.cancel()


async def tell(store: Store, *payloads: str, channel: str = CHANNEL) -> None:
    async def work(tx: Tx) -> None:
        for payload in payloads:
            await tx.fetch(NOTIFY, channel, payload)

    await store.write(work)


async def cut_listeners(store: Store) -> None:
    await store.statistics(lambda tx: tx.fetch(f"SELECT pg_terminate_backend(pid) FROM ({LISTENERS}) AS found"))


async def test_a_store_of_one_process_does_not_listen(store: Store) -> None:
    assert isinstance(store, Listening) is (store.kind == "postgres")


async def test_payloads_are_heard_in_order_and_on_their_channel(postgres_store: PostgresStore) -> None:
    async with listening(postgres_store) as ears:
        await tell(postgres_store, "elsewhere", channel="other")
        await tell(postgres_store, "one", "two", "ä\n3")
        await ears.until("one", "two", "ä\n3")


async def test_what_is_rolled_back_is_not_heard(postgres_store: PostgresStore) -> None:
    async def fail(tx: Tx) -> None:
        await tx.fetch(NOTIFY, CHANNEL, "never")
        raise KeyError

    async with listening(postgres_store) as ears:
        with pytest.raises(KeyError):
            await postgres_store.write(fail)
        await tell(postgres_store, "one")
        await ears.until("one")


async def test_a_cut_connection_is_made_again_and_the_gap_is_told(postgres_store: PostgresStore) -> None:
    async with listening(postgres_store) as ears:
        for _ in range(3):
            await cut_listeners(postgres_store)
            await ears.until(GAP)
            await tell(postgres_store, "one")
            await ears.until("one")
        assert len(await postgres_store.read(lambda tx: tx.fetch(LISTENERS))) == 1


async def test_a_listener_that_is_stopped_leaves_no_session(postgres_store: PostgresStore) -> None:
    async with listening(postgres_store):
        pass
    with trio.fail_after(5):
        while await postgres_store.read(lambda tx: tx.fetch(LISTENERS)):
            await wait_all_tasks_blocked(0.005)


async def test_a_quiet_connection_is_probed(postgres_store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROBE_SECONDS", 0.01)
    probed = LISTENERS + " AND query = 'SELECT 1'"
    async with listening(postgres_store) as ears:
        with trio.fail_after(10):
            while not await postgres_store.read(lambda tx: tx.fetch(probed)):
                await wait_all_tasks_blocked(0.005)
        await tell(postgres_store, "one")
        await ears.until("one")


async def test_what_a_hearer_raises_ends_the_listening(postgres_store: PostgresStore) -> None:
    ears = Ears()

    def refuse(payload: str) -> None:
        raise LookupError(payload)

    with pytest.RaisesGroup(pytest.RaisesExc(LookupError, match="one")):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(postgres_store.listen, CHANNEL, refuse, ears.missed)
            await ears.until(GAP)
            await tell(postgres_store, "one")


async def test_a_server_that_goes_and_comes_back_is_listened_to_again(own_postgres: PostgresServer) -> None:
    async with opened(Postgres(own_postgres.url()), wall_clock=ticking_clock()) as store:
        assert isinstance(store, PostgresStore)
        async with listening(store) as ears:
            await trio.to_thread.run_sync(own_postgres.stop)
            await wait_all_tasks_blocked(0.3)
            await trio.to_thread.run_sync(own_postgres.start)
            await ears.until(GAP)
            await tell(store, "one")
            await ears.until("one")


async def test_a_flood_is_bounded_and_its_loss_is_told() -> None:
    notices = Notices()
    for number in range(MAX_NOTICES + 5):
        notices.put(str(number))
    assert notices.take_overflow()
    assert not notices.take_overflow()
    assert [await notices.receive() for _ in range(MAX_NOTICES)] == [str(n) for n in range(MAX_NOTICES)]
    notices.put("later")
    notices.end()
    assert await notices.receive() == "later"
    with pytest.raises(ConnectionLost):
        await notices.receive()


class Scripted:
    """A connection that gives notices and takes note of its closing."""

    def __init__(self, notices: Notices, answer: Callable[[], Awaitable[None]]) -> None:
        self.notices = notices
        self.answer = answer
        self.closed = 0

    async def listen(self, _channel: str) -> Notices:
        await trio.lowlevel.checkpoint()
        return self.notices

    async def fetch(self, _sql: str, _args: object) -> None:
        await self.answer()

    async def close(self) -> None:
        await trio.lowlevel.checkpoint()
        self.closed += 1


async def run_for(seconds: float, connect: Callable[[], Awaitable[Scripted]], ears: Ears) -> None:
    with trio.move_on_after(seconds):
        await module.listen_forever(connect, CHANNEL, ears.heard.append, ears.missed)  # type: ignore[arg-type]


async def test_a_connection_that_a_firewall_forgot_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    made: list[Scripted] = []

    async def connect() -> Scripted:
        await trio.lowlevel.checkpoint()
        made.append(Scripted(Notices(), trio.sleep_forever))
        return made[-1]

    ears = Ears()
    await run_for(60, connect, ears)
    # A probe after 10 s, 5 s for its answer.
    assert 3 <= len(made) <= 4
    assert ears.heard == [GAP] * len(made)
    assert [one.closed for one in made[:-1]] == [1] * (len(made) - 1)


async def test_an_unreachable_server_is_tried_at_growing_intervals(autojump_clock: trio.testing.MockClock) -> None:
    tries: list[float] = []

    async def connect() -> Scripted:
        await trio.lowlevel.checkpoint()
        tries.append(trio.current_time())
        raise ConnectionLost("The database server cannot be reached: refused.")

    ears = Ears()
    await run_for(60, connect, ears)
    pauses = [after - before for before, after in itertools.pairwise(tries)]
    for number, pause in enumerate(pauses):
        wanted = min(0.1 * 2**number, 5.0)
        assert wanted * 0.79 <= pause <= wanted * 1.21
    assert 14 <= len(tries) <= 25
    assert ears.heard == []


async def test_a_flood_while_nobody_listens_is_a_gap(autojump_clock: trio.testing.MockClock) -> None:
    notices = Notices()

    async def connect() -> Scripted:
        await trio.lowlevel.checkpoint()
        return Scripted(notices, trio.lowlevel.checkpoint)

    for number in range(MAX_NOTICES + 1):
        notices.put(str(number))
    ears = Ears()
    await run_for(1, connect, ears)
    assert ears.heard == [GAP, GAP, *map(str, range(MAX_NOTICES))]
