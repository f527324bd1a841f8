"""API keys over a real database: life cycle, rights, races, and what other processes see."""

from __future__ import annotations

import random

import pytest
import trio

from server.accounts import AuthRefusal, Identity, api_keys
from server.accounts.api_keys import MAX_LIVE_KEYS, MadeKey
from server.accounts.credentials import hash_of
from server.accounts.key_desk import KeyDesk, NotYours
from server.store import Conflict, NotFound, Store, Tx, Value
from tests.testbed.flaky_store import FlakyStore
from tests.unit.server.accounts.people import START, KeyWorld, add_user


@pytest.fixture
def world(store: Store) -> KeyWorld:
    return KeyWorld(store)


async def account(world: KeyWorld, name: str = "ada") -> str:
    return (await add_user(world.store, name)).account_id


async def test_a_new_key_is_its_owner(world: KeyWorld) -> None:
    ada = await account(world)
    made = await world.desk.create(ada, {"name": "laptop", "rpm_limit": 60, "allowed_models": '["m"]'})
    found = await world.keys.authenticate(made.secret)
    assert isinstance(found, Identity)
    assert (found.account_id, found.key_id, found.credential) == (ada, made.key.id, "key")
    assert found.has_user
    assert found.rpm_limit == 60
    assert found.allowed_models == frozenset({"m"})
    assert not found.is_admin


async def test_only_the_hash_is_stored(world: KeyWorld) -> None:
    made = await world.desk.create(await account(world), {})
    rows = await world.store.read(lambda tx: tx.fetch("SELECT * FROM api_keys"))
    assert rows[0]["key_hash"] == hash_of(made.secret)
    assert made.secret not in repr([dict(row) for row in rows])


async def test_unknown_keys_are_refused_and_remembered_for_two_seconds(world: KeyWorld) -> None:
    unknown = "sk-db-" + "0" * 64
    assert await world.keys.authenticate(unknown) == AuthRefusal("invalid_api_key")
    assert world.keys.recall(unknown) == AuthRefusal("invalid_api_key")
    world.times.go(2.1)
    assert world.keys.recall(unknown) is None


async def test_a_key_without_owner_is_an_account_of_its_own(world: KeyWorld) -> None:
    raw = "eigeninference-" + "00" * 32
    sql = "INSERT INTO api_keys (id, key_hash, created_at) VALUES ('key_old', $1, 1)"
    await world.store.write(lambda tx: tx.execute(sql, hash_of(raw)))
    found = await world.keys.authenticate(raw)
    assert isinstance(found, Identity)
    assert found.account_id == "legacy:42685f0e1f66426771b1583bd7237b7b9cb66e59f414da12c7b75c84a3e84530"
    assert not found.has_user


async def test_the_role_of_the_owner_comes_with_the_key(world: KeyWorld) -> None:
    ada = await account(world)
    made = await world.desk.create(ada, {})
    await world.store.write(lambda tx: tx.execute("UPDATE users SET role = 'service' WHERE account_id = $1", ada))
    found = await world.keys.authenticate(made.secret)
    assert isinstance(found, Identity)
    assert found.is_service


async def test_disabled_expired_and_revoked_keys_say_what_they_are(world: KeyWorld) -> None:
    ada = await account(world)
    made = await world.desk.create(ada, {"expires_at": (START + 60) * 1_000_000})
    await world.desk.change(ada, made.key.id, {"disabled": 1})
    assert await world.keys.authenticate(made.secret) == AuthRefusal("key_disabled")
    await world.desk.change(ada, made.key.id, {"disabled": 0})
    assert isinstance(await world.keys.authenticate(made.secret), Identity)
    world.times.go(60)
    assert await world.keys.authenticate(made.secret) == AuthRefusal("key_expired")
    await world.desk.revoke(ada, made.key.id)
    assert await world.keys.authenticate(made.secret) == AuthRefusal("key_revoked")


async def test_a_key_dies_with_its_owner(world: KeyWorld) -> None:
    ada = await account(world)
    made = await world.desk.create(ada, {})
    await world.store.write(lambda tx: tx.execute("UPDATE users SET erased_at = 1 WHERE account_id = $1", ada))
    assert await world.keys.authenticate(made.secret) == AuthRefusal("key_revoked")


async def test_a_cached_key_expires_on_time(world: KeyWorld) -> None:
    made = await world.desk.create(await account(world), {"expires_at": (START + 5) * 1_000_000})
    assert isinstance(await world.keys.authenticate(made.secret), Identity)
    world.times.go(5)
    assert world.keys.recall(made.secret) == AuthRefusal("key_expired")


async def test_rotation_keeps_settings_and_kills_the_old_secret_at_once(world: KeyWorld) -> None:
    ada = await account(world)
    old = await world.desk.create(ada, {"name": "laptop", "limit_micro_usd": 5, "limit_reset": "daily", "rpm_limit": 7})
    assert isinstance(await world.keys.authenticate(old.secret), Identity)
    new = await world.desk.rotate(ada, old.key.id)
    assert await world.keys.authenticate(old.secret) == AuthRefusal("key_revoked")
    assert isinstance(await world.keys.authenticate(new.secret), Identity)
    assert new.key.settings == old.key.settings
    assert new.key.id != old.key.id
    assert [record.key.id for record in await world.desk.list_live(ada)] == [new.key.id]


async def test_another_process_sees_a_rotation_within_the_time_of_its_cache(world: KeyWorld) -> None:
    ada = await account(world)
    old = await world.desk.create(ada, {})
    other = world.neighbour()
    assert isinstance(await other.keys.authenticate(old.secret), Identity)
    await world.desk.rotate(ada, old.key.id)
    assert isinstance(await other.keys.authenticate(old.secret), Identity)
    world.times.go(15)
    assert await other.keys.authenticate(old.secret) == AuthRefusal("key_revoked")


async def test_another_process_that_hears_of_a_rotation_sees_it_at_once(world: KeyWorld) -> None:
    ada = await account(world)
    old = await world.desk.create(ada, {})
    other = world.neighbour()
    assert isinstance(await other.keys.authenticate(old.secret), Identity)
    await world.desk.rotate(ada, old.key.id)
    other.changes.heard(f"key {old.key.id}")
    assert await other.keys.authenticate(old.secret) == AuthRefusal("key_revoked")


async def test_lost_news_empty_the_cache(world: KeyWorld) -> None:
    made = await world.desk.create(await account(world), {})
    await world.keys.authenticate(made.secret)
    world.changes.heard("something from a newer process")
    assert world.keys.recall(made.secret) is not None
    world.changes.missed()
    assert world.keys.recall(made.secret) is None


async def test_of_two_concurrent_rotations_one_wins(world: KeyWorld) -> None:
    ada = await account(world)
    made = await world.desk.create(ada, {})
    won: list[MadeKey] = []
    lost: list[str] = []

    async def rotate() -> None:
        try:
            won.append(await world.desk.rotate(ada, made.key.id))
        except NotFound as error:
            lost.append(str(error))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(rotate)
        nursery.start_soon(rotate)
    assert (len(won), len(lost)) == (1, 1)
    assert [record.key.id for record in await world.desk.list_live(ada)] == [won[0].key.id]


async def test_a_change_while_keys_are_looked_up_is_never_undone_by_the_cache(world: KeyWorld) -> None:
    ada = await account(world)
    made = await world.desk.create(ada, {})
    seen: list[object] = []

    async def ask() -> None:
        for _ in range(30):
            world.keys.cache.drop("nobody")
            seen.append(await world.keys.authenticate(made.secret))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)
        await world.desk.revoke(ada, made.key.id)
        assert await world.keys.authenticate(made.secret) == AuthRefusal("key_revoked")
    assert await world.keys.authenticate(made.secret) == AuthRefusal("key_revoked")
    assert len(seen) == 150


async def test_clearing_a_limit_leaves_the_rest(world: KeyWorld) -> None:
    ada = await account(world)
    made = await world.desk.create(ada, {"name": "n", "limit_micro_usd": 1_000_000, "rpm_limit": 5})
    record = await world.desk.change(ada, made.key.id, {"limit_micro_usd": None})
    assert record.key.settings.limit_micro_usd is None
    assert record.remaining is None
    assert (record.key.settings.name, record.key.settings.rpm_limit) == ("n", 5)


async def use(world: KeyWorld, request_id: str, account_id: str, key_id: str, cost: int, at: int) -> None:
    sql = (
        "INSERT INTO usage (request_id, account_id, key_id, provider_id, model, prompt_tokens, completion_tokens, "
        "cost_micro_usd, created_at) VALUES ($1, $2, $3, 'p', 'm', 1, 1, $4, $5)"
    )
    await world.store.write(lambda tx: tx.execute(sql, request_id, account_id, key_id, cost, at))


async def test_spend_of_the_window_is_counted(world: KeyWorld) -> None:
    ada = await account(world)
    made = await world.desk.create(ada, {"limit_micro_usd": 1_000_000, "limit_reset": "daily"})
    today = START * 1_000_000
    for number, (cost, at) in enumerate([(300_000, today), (900_000, today - 86_400_000_000), (1, today)]):
        await use(world, f"r{number}", ada, made.key.id, cost, at)
    record = await world.desk.get(ada, made.key.id)
    assert (record.spent, record.remaining) == (300_001, 699_999)


class SeenStatements(FlakyStore):
    """Notes from when each sum over the usage of a key counts."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.since: list[object] = []

    async def read(self, work):  # type: ignore[no-untyped-def]
        seen = self

        class Watched:
            def __init__(self, tx: Tx) -> None:
                self._tx = tx

            def __getattr__(self, name: str) -> object:
                return getattr(self._tx, name)

            async def value(self, sql: str, *args: Value) -> Value:
                if "FROM usage" in sql:
                    seen.since.append(args[1])
                return await self._tx.value(sql, *args)

        return await super().read(lambda tx: work(Watched(tx)))


async def test_usage_that_is_minutes_old_is_summed_up_once(world: KeyWorld) -> None:
    ada = await account(world)
    made = await world.desk.create(ada, {"limit_micro_usd": 1_000_000})
    watched = SeenStatements(world.store)
    desk = KeyDesk(watched, keys=world.keys, changes=world.changes, wall_clock=world.times.wall_clock)  # type: ignore[arg-type]
    chance, whole = random.Random(3), 0
    for number in range(40):
        cost = chance.randrange(1, 9)
        whole += cost
        await use(world, f"r{number}", ada, made.key.id, cost, world.times.wall)
        if chance.random() < 0.5:
            assert (await desk.describe(made.key.id)).spent == whole
        else:
            assert [one.spent for one in await desk.list_live(ada)] == [whole]
        world.times.go(chance.choice([1, 30, 100]))
    assert watched.since.count(0) == 1
    latest = watched.since[-1]
    assert isinstance(latest, int)
    assert world.times.wall - latest <= 460_000_000


@pytest.mark.parametrize(("window", "spent"), [("none", 7), ("daily", 3), ("weekly", 3)])
async def test_a_changed_window_shows_its_own_spend(world: KeyWorld, window: str, spent: int) -> None:
    ada = await account(world)
    made = await world.desk.create(ada, {"limit_micro_usd": 10, "limit_reset": "monthly"})
    today, day = START * 1_000_000, 86_400_000_000
    await use(world, "old", ada, made.key.id, 4, today - 8 * day)
    await use(world, "new", ada, made.key.id, 3, today)
    assert (await world.desk.get(ada, made.key.id)).key.settings.limit_reset == "monthly"
    changed = await world.desk.change(ada, made.key.id, {"limit_reset": window})
    assert (changed.spent, changed.remaining) == (spent, 10 - spent)
    assert (await world.desk.get(ada, made.key.id)).spent == spent


@pytest.mark.parametrize("act", ["get", "change", "rotate", "revoke"])
async def test_keys_of_others_do_not_exist(world: KeyWorld, act: str) -> None:
    ada, eve = await account(world, "ada"), await account(world, "eve")
    made = await world.desk.create(ada, {})
    arguments = (eve, made.key.id, {"name": "mine"}) if act == "change" else (eve, made.key.id)
    with pytest.raises(NotFound):
        await getattr(world.desk, act)(*arguments)
    assert isinstance(await world.keys.authenticate(made.secret), Identity)


async def test_a_shown_secret_is_revoked_by_its_owner_only(world: KeyWorld) -> None:
    ada, eve = await account(world, "ada"), await account(world, "eve")
    made = await world.desk.create(ada, {})
    with pytest.raises(NotYours):
        await world.desk.revoke_secret(eve, made.secret)
    with pytest.raises(NotFound):
        await world.desk.revoke_secret(ada, "sk-db-" + "1" * 64)
    await world.desk.revoke_secret(ada, made.secret)
    assert await world.keys.authenticate(made.secret) == AuthRefusal("key_revoked")
    with pytest.raises(NotFound):
        await world.desk.revoke_secret(eve, made.secret)


async def test_fifty_live_keys_are_the_most_also_for_those_who_hurry(world: KeyWorld) -> None:
    ada = await account(world)
    for _ in range(MAX_LIVE_KEYS - 2):
        await world.desk.create(ada, {})
    outcomes: list[bool] = []

    async def create() -> None:
        try:
            await world.desk.create(ada, {})
            outcomes.append(True)
        except Conflict:
            outcomes.append(False)

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(create)
    assert sorted(outcomes) == [False] * 4 + [True] * 2
    listed = await world.desk.list_live(ada)
    await world.desk.revoke(ada, listed[0].key.id)
    await world.desk.create(ada, {})


async def test_a_plain_key_inherits_self_route_only_if_all_active_ones_have_it(world: KeyWorld) -> None:
    ada = await account(world)
    first = await world.desk.create_like_the_others(ada)
    assert not first.key.settings.self_route_only
    await world.desk.change(ada, first.key.id, {"self_route_only": 1})
    second = await world.desk.create_like_the_others(ada)
    assert second.key.settings.self_route_only
    await world.desk.create(ada, {"self_route_only": 0})
    assert not (await world.desk.create_like_the_others(ada)).key.settings.self_route_only


async def test_lists_are_newest_first(world: KeyWorld) -> None:
    ada = await account(world)
    made = []
    for _ in range(3):
        made.append((await world.desk.create(ada, {})).key.id)
        world.times.go(1)
    assert [record.key.id for record in await world.desk.list_live(ada)] == made[::-1]


async def test_use_is_noted_at_most_once_a_minute_and_off_the_request(world: KeyWorld) -> None:
    ada = await account(world)
    made = await world.desk.create(ada, {})
    for _ in range(5):
        await world.keys.authenticate(made.secret)
    assert (await world.desk.get(ada, made.key.id)).key.last_used_at is None
    assert world.uses.pending == 1
    await world.uses.flush()
    first = (await world.desk.get(ada, made.key.id)).key.last_used_at
    assert first == START * 1_000_000
    world.times.go(59)
    await world.keys.authenticate(made.secret)
    assert world.uses.pending == 0
    world.times.go(1)
    await world.keys.authenticate(made.secret)
    await world.uses.flush()
    assert (await world.desk.get(ada, made.key.id)).key.last_used_at == first + 60_000_000


async def test_a_note_never_goes_back_in_time(world: KeyWorld) -> None:
    ada = await account(world)
    made = await world.desk.create(ada, {})
    for at in (500, 400):
        await world.store.write(lambda tx, at=at: api_keys.note_used(tx, made.key.id, at))  # type: ignore[misc]
    assert (await world.desk.get(ada, made.key.id)).key.last_used_at == 500


async def test_a_browser_session_of_a_key_is_judged_by_the_key(world: KeyWorld) -> None:
    ada = await account(world)
    made = await world.desk.create(ada, {})
    assert isinstance(await world.keys.authenticate_id(made.key.id), Identity)
    await world.desk.revoke(ada, made.key.id)
    assert await world.keys.authenticate_id(made.key.id) == AuthRefusal("key_revoked")
    assert await world.keys.authenticate_id("key_" + "0" * 24) == AuthRefusal("invalid_api_key")


async def test_expired_keys_count_until_they_are_revoked(world: KeyWorld) -> None:
    ada = await account(world)
    for _ in range(MAX_LIVE_KEYS):
        await world.desk.create(ada, {"expires_at": world.times.wall + 1_000_000})
    world.times.go(60)
    with pytest.raises(Conflict):
        await world.desk.create(ada, {})
    records = await world.desk.list_live(ada)
    assert len(records) == MAX_LIVE_KEYS
    await world.desk.revoke(ada, records[0].key.id)
    await world.desk.create(ada, {})
