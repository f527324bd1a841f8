"""All money of one account moved to another, on both engines: both kinds, nothing held, once."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
import trio

from server.accounts.changes import Changes
from server.accounts.credentials import hash_of, legacy_account_id
from server.accounts.ports import Identity
from server.administration import audit
from server.administration.moves import MoveActs, Moved
from server.administration.operator import Operator
from server.store import Conflict, Invalid, NotFound, Store
from tests.testbed.books import Books
from tests.testbed.lost_commits import open_lossy_store
from tests.unit.server.accounts.people import KeyWorld

SECRET = "sk-db-" + "0" * 64
LEGACY = legacy_account_id(hash_of(SECRET))


class World(Books):
    """Books with an operator who moves money; `ann` and `bob` are people."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.changes = Changes(store)
        self.acts = MoveActs(Operator(store, changes=self.changes, wall_clock=self._clock))

    def _clock(self) -> int:
        self.now += 1_000_000
        return self.now

    async def people(self) -> None:
        for name in ("ann", "bob"):
            await self.user(name)

    async def ownerless_key(self) -> str:
        await self.run(
            "INSERT INTO api_keys (id, key_hash, label, created_at) VALUES ('key_old', $1, 'old', $2)",
            hash_of(SECRET),
            self.now,
        )
        return "key_old"

    async def references(self) -> list[object]:
        rows = await self.rows("SELECT reference FROM ledger_txns WHERE kind = 'migrate' ORDER BY id")
        return [row["reference"] for row in rows]


@pytest.fixture
async def world(store: Store) -> AsyncGenerator[World]:
    opened = World(store)
    await opened.people()
    yield opened
    assert await opened.problems() == []


async def test_both_kinds_move_and_the_audit_says_so(world: World) -> None:
    await world.grant("ann", credit=70, earned=30)
    await world.grant("bob", credit=5)
    moved = await world.acts.migrate("root", "ann", "bob")
    assert moved == Moved(source="ann", target="bob", amount=100, withdrawable=30, key_id=None)
    assert (await world.balance("ann"), await world.balance("bob")) == ((0, 0, 0, 0), (105, 30, 0, 0))
    assert await world.references() == ["ann->bob"]
    (row,) = await world.store.read(lambda tx: audit.newest(tx, 10))
    assert (row.actor, row.action, row.target) == ("root", "account.migrate", "ann")
    assert row.after == {"to": "bob", "amount_micro_usd": 100, "withdrawable_micro_usd": 30}


async def test_nothing_moves_while_a_request_holds_money(world: World) -> None:
    await world.grant("ann", credit=70, earned=30)
    await world.hold("r", "ann", 1)
    with pytest.raises(Conflict, match="Requests of this account are running"):
        await world.acts.migrate("root", "ann", "bob")
    assert (await world.balance("ann"), await world.balance("bob")) == ((100, 30, 1, 0), (0, 0, 0, 0))
    await world.release("r")
    assert (await world.acts.migrate("root", "ann", "bob")).amount == 100


async def test_a_key_without_owner_goes_with_its_money(world: World) -> None:
    key_id = await world.ownerless_key()
    await world.grant(LEGACY, credit=50)
    keys = KeyWorld(world.store)
    world.changes.listen("key", keys.keys.drop)
    found = await keys.keys.authenticate(SECRET)
    assert isinstance(found, Identity)
    assert found.account_id == LEGACY
    moved = await world.acts.migrate("root", LEGACY, "bob")
    assert (moved.amount, moved.key_id) == (50, key_id)
    found = await keys.keys.authenticate(SECRET)
    assert isinstance(found, Identity)
    assert (found.account_id, found.has_user) == ("bob", True)


async def test_what_comes_later_can_be_moved_later(world: World) -> None:
    for amount in (10, 20, 30):
        await world.grant("ann", credit=amount)
        assert (await world.acts.migrate("root", "ann", "bob")).amount == amount
    assert await world.references() == ["ann->bob", "ann->bob#2", "ann->bob#3"]
    with pytest.raises(Conflict, match="nothing that could be moved"):
        await world.acts.migrate("root", "ann", "bob")


async def test_many_at_once_move_it_once(world: World) -> None:
    await world.grant("ann", credit=100)
    moved: list[int] = []

    async def move() -> None:
        try:
            moved.append((await world.acts.migrate("root", "ann", "bob")).amount)
        except Conflict:
            moved.append(0)

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(move)
    assert sorted(moved) == [0] * 7 + [100]
    assert await world.balance("bob") == (100, 0, 0, 0)


@pytest.mark.parametrize("target", ["nobody", "sys:grants", LEGACY])
async def test_only_people_get_money(world: World, target: str) -> None:
    await world.grant("ann", credit=1)
    with pytest.raises(NotFound):
        await world.acts.migrate("root", "ann", target)


@pytest.mark.parametrize("source", ["ann", "platform", "sys:stripe_in"])
async def test_only_accounts_of_somebody_else_give_money(world: World, source: str) -> None:
    await world.grant("ann", credit=1)
    with pytest.raises(Invalid):
        await world.acts.migrate("root", source, "ann")


async def test_a_lost_commit_moves_it_once() -> None:
    async with open_lossy_store("sqlite") as (store, losses):
        world = World(store)
        await world.people()
        key_id = await world.ownerless_key()
        await world.grant(LEGACY, credit=70, earned=30)
        losses.of, losses.pending = "ledger_txns", 1
        moved = await world.acts.migrate("root", LEGACY, "bob")
        assert (moved.amount, moved.withdrawable, moved.key_id, losses.pending) == (100, 30, key_id, 0)
        assert len(await store.read(lambda tx: audit.newest(tx, 9))) == 1
        assert await world.balance("bob") == (100, 30, 0, 0)
        assert await world.problems() == []
