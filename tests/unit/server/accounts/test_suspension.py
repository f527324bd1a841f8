"""A suspended account on both engines: every credential is refused, machines are unlinked, and nothing is lost."""

from __future__ import annotations

import pytest

from server.accounts import provider_tokens
from server.accounts.ports import AuthRefusal, Identity
from server.accounts.provider_tokens import ProviderTokens, TokenBook
from server.accounts.use_notes import UseNotes
from server.administration import audit
from server.administration.accounts import AccountActs
from server.administration.operator import Operator
from server.store import Conflict, Invalid, NotFound, Store
from tests.unit.server.accounts.people import KeyWorld, add_user

SUSPENDED = AuthRefusal("account_suspended")


class World(KeyWorld):
    """The parts around keys, with machines and an operator."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.unlinked: list[str] = []
        self.book = TokenBook(self.unlinked.append)
        self.tokens = ProviderTokens(
            store,
            changes=self.changes,
            uses=UseNotes(store, provider_tokens.note_used),
            book=self.book,
            wall_clock=self.times.wall_clock,
        )
        self.acts = AccountActs(Operator(store, changes=self.changes, wall_clock=self.times.wall_clock))

    async def machine(self, account_id: str) -> str:
        return await self.store.write(lambda tx: provider_tokens.insert(tx, account_id, "machine", self.times.wall))


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


async def test_keys_are_refused_at_once_and_come_back(world: World) -> None:
    user, other = await add_user(world.store), await add_user(world.store, "eve")
    mine = await world.desk.create(user.account_id, {})
    hers = await world.desk.create(other.account_id, {})
    assert isinstance(await world.keys.authenticate(mine.secret), Identity)
    suspended = await world.acts.suspend("ann", user.account_id, "asked for money back twice")
    assert suspended.suspended_at == world.times.wall
    assert await world.keys.authenticate(mine.secret) == SUSPENDED
    assert world.keys.recall(mine.secret) == SUSPENDED
    assert await world.keys.authenticate_id(mine.key.id) == SUSPENDED
    assert isinstance(await world.keys.authenticate(hers.secret), Identity)
    resumed = await world.acts.resume("ann", user.account_id)
    assert (resumed.suspended_at, resumed.suspended_reason) == (None, "")
    assert isinstance(await world.keys.authenticate(mine.secret), Identity)


async def test_a_key_that_was_revoked_or_switched_off_stays_so(world: World) -> None:
    user = await add_user(world.store)
    made = await world.desk.create(user.account_id, {"disabled": 1})
    await world.acts.suspend("ann", user.account_id, "x")
    assert await world.keys.authenticate(made.secret) == AuthRefusal("key_disabled")
    await world.acts.resume("ann", user.account_id)
    assert await world.keys.authenticate(made.secret) == AuthRefusal("key_disabled")


async def test_another_process_sees_it_within_the_time_of_its_cache(world: World) -> None:
    user = await add_user(world.store)
    made = await world.desk.create(user.account_id, {})
    neighbour = world.neighbour()
    assert isinstance(await neighbour.keys.authenticate(made.secret), Identity)
    await world.acts.suspend("ann", user.account_id, "x")
    world.times.go(15)
    assert await neighbour.keys.authenticate(made.secret) == SUSPENDED


async def test_machines_are_unlinked_and_link_themselves_again(world: World) -> None:
    user, other = await add_user(world.store), await add_user(world.store, "eve")
    first, second = await world.machine(user.account_id), await world.machine(user.account_id)
    hers = await world.machine(other.account_id)
    for session, token in (("s1", first), ("s2", first), ("s3", second), ("s4", hers)):
        assert await world.tokens.link(session, token) is not None
    await world.acts.suspend("ann", user.account_id, "x")
    assert sorted(world.unlinked) == ["s1", "s2", "s3"]
    assert await world.tokens.link("s5", first) is None
    assert await world.tokens.link("s6", hers) == other.account_id
    await world.acts.resume("ann", user.account_id)
    assert await world.tokens.link("s7", first) == user.account_id
    assert [one.active for one in await world.tokens.list(user.account_id)] == [True, True]


async def test_machines_of_which_nobody_heard_are_found_by_looking_again(world: World) -> None:
    user = await add_user(world.store)
    token = await world.machine(user.account_id)
    await world.tokens.link("s1", token)
    await World(world.store).acts.suspend("ann", user.account_id, "x")
    assert world.unlinked == []
    await world.tokens.recheck()
    assert world.unlinked == ["s1"]


async def test_a_suspended_machine_can_still_log_out(world: World) -> None:
    user = await add_user(world.store)
    token = await world.machine(user.account_id)
    await world.acts.suspend("ann", user.account_id, "x")
    assert await world.tokens.revoke(token)
    await world.acts.resume("ann", user.account_id)
    assert await world.tokens.account_of(token) is None


async def test_every_act_leaves_its_row(world: World) -> None:
    user = await add_user(world.store)
    await world.acts.suspend("ann", user.account_id, " first ")
    world.times.go(60)
    again = await world.acts.suspend("bob", "ada@example.com", "second")
    assert again.suspended_at == world.times.wall - 60_000_000
    await world.acts.resume("ann", user.account_id)
    rows = await world.store.read(lambda tx: audit.newest(tx, 10))
    assert [(row.actor, row.action, row.before, row.after) for row in reversed(rows)] == [
        ("ann", "account.suspend", {"suspended": False}, {"suspended": True, "reason": "first"}),
        ("bob", "account.suspend", {"suspended": True}, {"suspended": True, "reason": "second"}),
        ("ann", "account.resume", {"suspended": True}, {"suspended": False}),
    ]
    assert {row.target for row in rows} == {user.account_id}


async def test_what_cannot_be_suspended(world: World) -> None:
    user = await add_user(world.store)
    with pytest.raises(Conflict, match="your own account"):
        await world.acts.suspend(user.account_id, user.account_id, "x")
    with pytest.raises(NotFound):
        await world.acts.suspend("ann", "nobody", "x")
    for reason in ("", "  ", "x" * 501, "a\nb"):
        with pytest.raises(Invalid, match="reason"):
            await world.acts.suspend("ann", user.account_id, reason)
    assert await world.store.read(lambda tx: audit.newest(tx, 10)) == []
