"""Posting to the double-entry ledger."""

from __future__ import annotations

import pytest
import trio

from server.billing.balance import Balance
from server.billing.ledger import (
    BASE_REWARDS,
    COUNTER_ACCOUNTS,
    GRANTS,
    PLATFORM,
    STRIPE_IN,
    STRIPE_OUT,
    Entry,
    lock_balances,
    post,
    store_balance,
)
from server.store.errors import InsufficientBalance, Invalid
from tests.testbed.books import Books


async def _post(books: Books, kind: str, reference: str, *entries: Entry) -> int | None:
    return await books.store.write(lambda tx: post(tx, kind, reference, entries, books.now))


async def test_a_deposit_moves_money_once(books: Books) -> None:
    entries = (Entry(STRIPE_IN, "stripe_deposit", -1_000_000), Entry("a", "stripe_deposit", 1_000_000))
    first = await _post(books, "deposit", "stripe:cs_1", *entries)
    assert isinstance(first, int)
    assert await _post(books, "deposit", "stripe:cs_1", *entries) is None
    assert await books.balance("a") == (1_000_000, 0, 0, 0)
    assert await books.entries() == [
        (STRIPE_IN, "stripe_deposit", -1_000_000, 0),
        ("a", "stripe_deposit", 1_000_000, 0),
    ]
    rows = await books.rows("SELECT account_id, balance_after, reference FROM ledger_entries ORDER BY id")
    assert [tuple(row.values()) for row in rows] == [(STRIPE_IN, None, "stripe:cs_1"), ("a", 1_000_000, "stripe:cs_1")]


async def test_the_same_reference_of_another_kind_is_another_event(books: Books) -> None:
    await _post(books, "deposit", "x", Entry(STRIPE_IN, "stripe_deposit", -5), Entry("a", "stripe_deposit", 5))
    assert await _post(books, "invite", "x", Entry(GRANTS, "invite_credit", -5), Entry("a", "invite_credit", 5))
    assert (await books.balance("a")).balance == 10


async def test_a_withdrawal_takes_earnings_only(books: Books) -> None:
    await books.grant("a", credit=5_000_000, earned=3_000_000)
    payout = (Entry("a", "stripe_payout", -3_000_000, -3_000_000), Entry(STRIPE_OUT, "stripe_payout", 3_000_000))
    too_much = (Entry("a", "stripe_payout", -3_000_001, -3_000_001), Entry(STRIPE_OUT, "stripe_payout", 3_000_001))
    with pytest.raises(InsufficientBalance):
        await _post(books, "withdraw", "stripe_withdraw:1", *too_much)
    assert await _post(books, "withdraw", "stripe_withdraw:1", *payout)
    assert await books.balance("a") == (5_000_000, 0, 0, 0)


async def test_a_refusal_leaves_no_trace(books: Books) -> None:
    before = await books.rows("SELECT * FROM ledger_txns")
    with pytest.raises(InsufficientBalance, match="does not carry 1 micro-USD"):
        await _post(books, "refund", "r", Entry("nobody", "refund", -1), Entry(STRIPE_IN, "refund", 1))
    assert await books.rows("SELECT * FROM ledger_txns") == before
    assert await books.rows("SELECT * FROM balances") == []


async def test_what_a_hold_reserves_cannot_be_debited(books: Books) -> None:
    await books.grant("a", credit=100)
    await books.hold("r", "a", 60)
    with pytest.raises(InsufficientBalance):
        await _post(books, "refund", "r1", Entry("a", "refund", -41), Entry(STRIPE_IN, "refund", 41))
    assert await _post(books, "refund", "r1", Entry("a", "refund", -40), Entry(STRIPE_IN, "refund", 40))
    assert await books.balance("a") == (60, 0, 60, 0)


async def test_two_entries_of_one_account_make_a_chain(books: Books) -> None:
    await _post(
        books,
        "admin",
        "k",
        Entry(GRANTS, "admin_credit", -30),
        Entry("a", "admin_credit", 10),
        Entry("a", "admin_credit", 20),
    )
    rows = await books.rows("SELECT balance_after FROM ledger_entries WHERE account_id = 'a' ORDER BY id")
    assert [row["balance_after"] for row in rows] == [10, 30]


async def test_migration_moves_both_kinds(books: Books) -> None:
    await books.grant("old", credit=70, earned=30)
    moved = (Entry("old", "migration", -100, -30), Entry("new", "migration", 100, 30))
    assert await _post(books, "migrate", "old->new", *moved)
    assert await books.balance("new") == (100, 30, 0, 0)
    assert await books.balance("old") == (0, 0, 0, 0)


@pytest.mark.parametrize(
    "entries",
    [
        (Entry("a", "x", 5), Entry(GRANTS, "x", -4)),
        (Entry("", "x", 5), Entry(GRANTS, "x", -5)),
        (Entry("a", "x", 5, 6), Entry(GRANTS, "x", -5)),
        (Entry("a", "x", 5, -1), Entry(GRANTS, "x", -5)),
        (Entry("a", "x", -5), Entry(PLATFORM, "x", 5, 5)),
        (Entry("a", "x", 2**53), Entry(GRANTS, "x", -(2**53))),
    ],
)
async def test_entries_that_can_never_stand_are_refused(books: Books, entries: tuple[Entry, ...]) -> None:
    with pytest.raises(Invalid):
        await _post(books, "admin", "bad", *entries)
    assert await books.rows("SELECT * FROM ledger_txns") == []


@pytest.mark.parametrize(("kind", "reference"), [("", "r"), ("k", ""), ("k", "a\x00b")])
async def test_an_event_needs_a_name(books: Books, kind: str, reference: str) -> None:
    with pytest.raises(Invalid):
        await _post(books, kind, reference, Entry("a", "x", 5), Entry(GRANTS, "x", -5))


async def test_counter_accounts_never_get_a_balance(books: Books) -> None:
    async def lock(tx: object) -> dict[str, Balance]:
        return await lock_balances(tx, {*COUNTER_ACCOUNTS, "b", "a"}, books.now)  # type: ignore[arg-type]

    assert await books.store.write(lock) == {"a": (0, 0, 0, 0), "b": (0, 0, 0, 0)}
    await _post(
        books, "floor", "f", Entry(BASE_REWARDS, "provider_floor_draw", -7), Entry("a", "provider_floor_draw", 7, 7)
    )
    rows = await books.rows("SELECT account_id FROM balances ORDER BY account_id")
    assert [row["account_id"] for row in rows] == ["a", "b"]


async def test_store_balance_refuses_what_is_unsound(books: Books) -> None:
    for wrong in (Balance(-1, 0, 0, 0), Balance(1, 2, 0, 0), Balance(5, 0, 6, 0), Balance(5, 3, 3, 4)):
        with pytest.raises(Exception, match=r"."):
            await books.store.write(lambda tx, b=wrong: store_balance(tx, "a", b, books.now))  # type: ignore[misc]
    assert await books.rows("SELECT * FROM balances") == []


async def test_fifty_copies_of_one_event_have_one_effect(books: Books) -> None:
    done: list[int | None] = []

    async def credit() -> None:
        entries = (Entry(STRIPE_IN, "stripe_deposit", -9), Entry("a", "stripe_deposit", 9))
        done.append(await _post(books, "deposit", "stripe:cs_9", *entries))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(credit)
    assert sum(result is not None for result in done) == 1
    assert (await books.balance("a")).balance == 9


async def test_opposite_transfers_do_not_deadlock(books: Books) -> None:
    await books.grant("a", credit=1000)
    await books.grant("b", credit=1000)

    async def move(source: str, target: str, n: int) -> None:
        await _post(
            books, "migrate", f"{source}->{target}:{n}", Entry(source, "migration", -1), Entry(target, "migration", 1)
        )

    async with trio.open_nursery() as nursery:
        for n in range(20):
            nursery.start_soon(move, "a", "b", n)
            nursery.start_soon(move, "b", "a", n)
    assert (await books.balance("a")).balance == (await books.balance("b")).balance == 1000
