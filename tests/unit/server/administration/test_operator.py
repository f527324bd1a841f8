"""The hand that carries acts out: with each act its audit row, or nothing at all."""

from __future__ import annotations

import pytest

from server.accounts.changes import Changes
from server.administration import accounts, audit
from server.administration.accounts import AccountActs
from server.administration.keys import KeyActs
from server.administration.operator import AuditedStore, Deed, Operator
from server.store import Conflict, Invalid, NotFound, Store, Tx
from tests.testbed.lost_commits import open_lossy_store
from tests.unit.server.accounts.people import KeyWorld, add_user


def operator_of(store: Store, changes: Changes | None = None) -> Operator:
    return Operator(store, changes=changes or Changes(store), wall_clock=lambda: 1_780_000_000_000_000)


async def acts(store: Store) -> list[tuple[str, str, str]]:
    return [(row.actor, row.action, row.target) for row in await store.read(lambda tx: audit.newest(tx, 100))]


async def count_users(store: Store) -> object:
    return await store.read(lambda tx: tx.value("SELECT COUNT(*) FROM users"))


async def test_an_act_that_fails_leaves_nothing(store: Store) -> None:
    user = await add_user(store)

    async def half(tx: Tx, _now: int) -> Deed[None]:
        await tx.execute("UPDATE users SET is_admin = 1 WHERE account_id = $1", user.account_id)
        raise NotFound("The other half is missing.")

    with pytest.raises(NotFound):
        await operator_of(store).act("me", "half", half)
    assert not (await store.read(lambda tx: accounts.view(tx, user.account_id))).is_admin
    assert await acts(store) == []


async def test_an_audit_row_that_cannot_be_written_undoes_the_act(store: Store) -> None:
    user = await add_user(store)

    async def work(tx: Tx, _now: int) -> Deed[None]:
        await tx.execute("UPDATE users SET is_admin = 1 WHERE account_id = $1", user.account_id)
        return Deed(None, "target", after={"what": object()})

    with pytest.raises(TypeError):
        await operator_of(store).act("me", "act", work)
    assert not (await store.read(lambda tx: accounts.view(tx, user.account_id))).is_admin


async def test_caches_of_this_process_hear_of_an_act_even_when_its_answer_is_lost(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = KeyWorld(store)
    user = await add_user(store)
    made = await world.desk.create(user.account_id, {})
    await world.keys.authenticate(made.secret)
    assert len(world.keys.cache) == 1
    real = store.write

    async def forgetful(work: object) -> object:
        await real(work)  # type: ignore[arg-type]
        raise ConnectionError("The answer was lost.")

    monkeypatch.setattr(store, "write", forgetful)
    with pytest.raises(ConnectionError):
        await KeyActs(operator_of(store, world.changes)).revoke("me", made.key.id)
    assert len(world.keys.cache) == 0


async def test_an_act_whose_answer_is_lost_has_one_row() -> None:
    async with open_lossy_store("sqlite") as (store, losses):
        await add_user(store)
        losses.of, losses.pending = "admin_audit", 1
        changed = await AccountActs(operator_of(store)).set_role("me", "did:privy:ada", "service")
        assert (changed.role, losses.pending) == ("service", 0)
        (row,) = await store.read(lambda tx: audit.newest(tx, 9))
        assert (row.before, row.after) == ({"role": ""}, {"role": "service"})


async def test_an_audited_store_notes_what_a_service_did_and_nothing_else(store: Store) -> None:
    noted = AuditedStore(
        store,
        actor="me",
        action="count",
        describe=lambda result: (str(result), {}) if result else None,
        wall_clock=lambda: 7,
    )

    async def give(result: int) -> None:
        async def work(_tx: Tx) -> int:
            return result

        assert await noted.write(work) == result

    await give(3)
    await give(0)
    assert await acts(store) == [("me", "count", "3")]

    async def fail(_tx: Tx) -> int:
        raise Invalid("No.")

    with pytest.raises(Invalid):
        await noted.write(fail)
    assert len(await acts(store)) == 1


async def test_a_name_of_several_accounts_is_refused_with_their_ids(store: Store) -> None:
    first = await add_user(store, "ada", email="same@example.com")
    second = await add_user(store, "eve", email="same@example.com")
    with pytest.raises(Conflict) as caught:
        await store.read(lambda tx: accounts.resolve(tx, "Same@example.com"))
    assert first.account_id in str(caught.value)
    assert second.account_id in str(caught.value)
    assert await store.read(lambda tx: accounts.resolve(tx, "did:privy:eve")) == second.account_id


async def test_an_unverified_address_names_nobody(store: Store) -> None:
    await add_user(store, "ada", email="ada@example.com", local=True)
    with pytest.raises(NotFound):
        await store.read(lambda tx: accounts.resolve(tx, "ada@example.com"))
    found = await store.read(lambda tx: accounts.search(tx, "ada@example"))
    assert [one.verified for one in found] == [False]


@pytest.mark.parametrize(("text", "found"), [("a%a", 0), ("a_a", 0), ("!", 0), ("100%", 1), ("RUTH", 1), ("", 2)])
async def test_a_search_takes_its_text_literally(store: Store, text: str, found: int) -> None:
    await add_user(store, "ruth")  # no hexadecimal digits: ids are searched too
    await add_user(store, "percent", email="100%@example.com")
    assert len(await store.read(lambda tx: accounts.search(tx, text))) == found


async def test_erased_accounts_are_nobody(store: Store) -> None:
    user = await add_user(store)
    await store.write(lambda tx: tx.execute("UPDATE users SET erased_at = 1"))
    for name in (user.account_id, "ada@example.com", "did:privy:ada"):
        with pytest.raises(NotFound):
            await AccountActs(operator_of(store)).set_admin("me", name, True)
    assert await acts(store) == []
    assert await count_users(store) == 1


async def test_what_may_be_a_credential_is_not_repeated(store: Store) -> None:
    secret = "eigeninference-pt-" + "ab" * 32
    with pytest.raises(NotFound) as caught:
        await store.read(lambda tx: accounts.resolve(tx, secret))
    assert "abab" not in str(caught.value)


async def test_a_fee_out_of_range_is_refused_before_anything_happens(store: Store) -> None:
    await add_user(store)
    for percent in (-1, 101):
        with pytest.raises(Invalid):
            await AccountActs(operator_of(store)).set_fee("me", "did:privy:ada", percent)
    assert await acts(store) == []
