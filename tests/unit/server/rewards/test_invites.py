"""Invites on both engines: limits that hold when many come at once, and credit with every redemption."""

from __future__ import annotations

import re

import pytest
import trio

from server.billing.balance import Balance
from server.rewards.invites import MAX_USES, Invites, Redeemed, new_code, normal_code
from server.store import Conflict, Invalid
from tests.testbed.books import Books


@pytest.fixture
def invites(books: Books) -> Invites:
    return Invites(books.store, wall_clock=lambda: books.now)


def test_made_codes_cannot_be_guessed() -> None:
    codes = {new_code() for _ in range(100)}
    assert len(codes) == 100
    assert all(re.fullmatch(r"INV-[A-Z2-7]{16}", code) and normal_code(code) == code for code in codes)


async def test_a_redemption_credits_money_that_can_only_be_spent(books: Books, invites: Invites) -> None:
    invite = await invites.create(amount=5_000_000)
    assert (invite.max_uses, invite.used_count, invite.active, invite.expires_at) == (1, 0, True, None)
    assert await invites.redeem("ann", f" {invite.code.lower()} ") == Redeemed(amount=5_000_000, balance=5_000_000)
    assert await books.balance("ann") == Balance(5_000_000, 0, 0, 0)
    assert await books.entries() == [
        ("sys:grants", "invite_credit", -5_000_000, 0),
        ("ann", "invite_credit", 5_000_000, 0),
    ]
    (txn,) = await books.rows("SELECT kind, reference FROM ledger_txns")
    assert txn == {"kind": "invite", "reference": f"invite:{invite.code}:ann"}


async def test_50_at_once_on_three_uses_make_three(books: Books, invites: Invites) -> None:
    await invites.create(amount=1_000_000, code="party", max_uses=3)
    outcomes: list[object] = []

    async def redeem(account: str) -> None:
        outcomes.append(await invites.redeem(account, "party"))

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(redeem, f"account-{number:02}")
    assert sum(isinstance(one, Redeemed) for one in outcomes) == 3
    assert outcomes.count("used_up") == 47
    (invite,) = await invites.list()
    assert invite.used_count == 3
    assert len(await books.rows("SELECT code FROM invite_redemptions")) == 3
    assert sum(amount for account, _, amount, _ in await books.entries() if account != "sys:grants") == 3_000_000


async def test_50_at_once_of_one_account_make_one(books: Books, invites: Invites) -> None:
    await invites.create(amount=1_000_000, code="party", max_uses=10)
    outcomes: list[object] = []

    async def redeem() -> None:
        outcomes.append(await invites.redeem("ann", "party"))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(redeem)
    assert outcomes.count("redeemed") == 49
    assert (await books.balance("ann")).balance == 1_000_000
    assert (await invites.list())[0].used_count == 1


async def test_what_cannot_be_redeemed(books: Books, invites: Invites) -> None:
    await invites.create(amount=1, code="used")
    await invites.create(amount=1, code="off")
    await invites.create(amount=1, code="old", expires_at=books.now + 1)
    assert await invites.deactivate("OFF ")
    books.now += 1
    assert isinstance(await invites.redeem("bob", "used"), Redeemed)
    outcomes = {code: await invites.redeem("ann", code) for code in ("used", "off", "old", "nothing", "?", "x\x00y")}
    assert outcomes == {
        "used": "used_up",
        "off": "inactive",
        "old": "expired",
        "nothing": "unknown",
        "?": "unknown",
        "x\x00y": "unknown",
    }
    assert await invites.redeem("bob", "used") == "redeemed"
    assert (await books.balance("ann")).balance == 0


async def test_what_cannot_be_created(books: Books, invites: Invites) -> None:
    await invites.create(amount=1, code="there")
    with pytest.raises(Conflict):
        await invites.create(amount=2, code="THERE")
    for wrong in ({"amount": 0}, {"amount": -1}, {"amount": 2**53}, {"amount": 1, "code": "-"}):
        with pytest.raises(Invalid):
            await invites.create(**wrong)  # type: ignore[arg-type]
    for uses in (0, MAX_USES + 1):
        with pytest.raises(Invalid):
            await invites.create(amount=1, max_uses=uses)
    with pytest.raises(Invalid):
        await invites.create(amount=1, expires_at=books.now)
    assert [invite.amount for invite in await invites.list()] == [1]


async def test_lists_are_newest_first(books: Books, invites: Invites) -> None:
    for code in ("one", "two", "three"):
        await invites.create(amount=1, code=code)
        books.now += 1
    assert [invite.code for invite in await invites.list()] == ["THREE", "TWO", "ONE"]
    assert not await invites.deactivate("four")
    assert not await invites.deactivate("?")


async def test_an_audit_notices_a_redemption_without_its_credit(books: Books, invites: Invites) -> None:
    await invites.create(amount=1, code="odd", max_uses=2)
    await books.run("INSERT INTO invite_redemptions (code, account_id, created_at) VALUES ('ODD', 'eve', 1)")
    assert len(await books.problems()) == 2
    await books.run("DELETE FROM invite_redemptions")
