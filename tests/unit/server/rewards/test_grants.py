"""Grants on both engines: once under a key, to one person, spendable or withdrawable."""

from __future__ import annotations

import pytest
import trio

from server.billing.balance import Balance
from server.rewards.grants import Granted, Grants, Person
from server.store import Conflict, Invalid, NotFound
from tests.testbed.books import Books
from tests.unit.server.accounts.people import add_user

ADA = Person(email=" Ada@Example.com ")


@pytest.fixture
def grants(books: Books) -> Grants:
    return Grants(books.store, wall_clock=lambda: books.now)


async def test_a_credit_can_be_spent_and_a_reward_also_paid_out(books: Books, grants: Grants) -> None:
    ada = await add_user(books.store)
    credit = await grants.grant(ADA, kind="admin_credit", amount=5_000_000, note="welcome")
    assert credit == Granted(user=ada, amount=5_000_000, balance=5_000_000, withdrawable=0, fresh=True)
    reward = await grants.grant(Person(account_id=ada.account_id), kind="admin_reward", amount=2_000_000)
    assert (reward.balance, reward.withdrawable) == (7_000_000, 2_000_000)
    assert await books.balance(ada.account_id) == Balance(7_000_000, 2_000_000, 0, 0)
    texts = await books.rows("SELECT reference FROM ledger_entries WHERE account_id <> 'sys:grants' ORDER BY id")
    assert [row["reference"] for row in texts] == ["admin_credit:welcome", "admin_reward"]


async def test_a_key_grants_once_however_often_it_comes(books: Books, grants: Grants) -> None:
    ada = await add_user(books.store)
    got: list[Granted] = []

    async def give() -> None:
        got.append(await grants.grant(ADA, kind="admin_credit", amount=100, idempotency_key="k1"))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(give)
    assert sum(one.fresh for one in got) == 1
    assert {one.balance for one in got} == {100}
    assert (await books.balance(ada.account_id)).balance == 100
    (txn,) = await books.rows("SELECT kind, reference FROM ledger_txns")
    assert txn == {"kind": "admin", "reference": f"{ada.account_id}:k1"}


async def test_a_key_is_good_for_one_grant_of_one_account(books: Books, grants: Grants) -> None:
    for name in ("ada", "eve"):
        await add_user(books.store, name)
    await grants.grant(ADA, kind="admin_credit", amount=100, idempotency_key="k1")
    with pytest.raises(Conflict):
        await grants.grant(ADA, kind="admin_credit", amount=101, idempotency_key="k1")
    with pytest.raises(Conflict):
        await grants.grant(ADA, kind="admin_reward", amount=100, idempotency_key="k1")
    other = await grants.grant(Person(email="eve@example.com"), kind="admin_credit", amount=100, idempotency_key="k1")
    assert other.fresh


async def test_people_who_cannot_be_meant(books: Books, grants: Grants) -> None:
    await add_user(books.store, "local", local=True)
    for person in (Person(email="nobody@example.com"), Person(email="local@example.com"), Person(account_id="none")):
        with pytest.raises(NotFound):
            await grants.grant(person, kind="admin_credit", amount=1)
    for name in ("one", "two"):
        await add_user(books.store, name, email="shared@example.com")
    with pytest.raises(Conflict):
        await grants.grant(Person(email="shared@example.com"), kind="admin_credit", amount=1)
    with pytest.raises(Invalid):
        await grants.grant(ADA, kind="admin_credit", amount=0)


async def test_more_than_a_balance_can_hold_is_refused(books: Books, grants: Grants) -> None:
    await add_user(books.store)
    await grants.grant(ADA, kind="admin_credit", amount=2**53 - 1)
    with pytest.raises(Invalid):
        await grants.grant(ADA, kind="admin_credit", amount=1)
