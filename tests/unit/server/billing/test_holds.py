"""Durable holds: taking, raising, lowering, giving back, expiring; the spend cap of a key."""

from __future__ import annotations

import pytest
import trio

from server.billing import holds
from server.billing.key_spend import KeyCap, spent
from server.billing.ledger import STRIPE_OUT, Entry, post
from server.store.errors import CapExceeded, Conflict, InsufficientBalance, Invalid, NotFound
from tests.testbed.books import LIFETIME, MINUTE, Books

DAILY = KeyCap(limit=1000, window="daily")


async def _raise(books: Books, request: str, total: int, cap: KeyCap | None = None) -> None:
    await books.store.write(lambda tx: holds.raise_hold(tx, request, total, books.now, cap=cap))


async def _lower(books: Books, request: str, total: int) -> None:
    await books.store.write(lambda tx: holds.lower_hold(tx, request, total, books.now))


async def test_example_3_a_hold_and_its_release(books: Books) -> None:
    await books.grant("a", credit=200_000, earned=800_000)
    await books.hold("r", "a", 500_000)
    assert await books.balance("a") == (1_000_000, 800_000, 500_000, 300_000)
    entries = await books.entries()
    assert await books.release("r")
    assert await books.balance("a") == (1_000_000, 800_000, 0, 0)
    assert await books.entries() == entries  # neither holds nor releases write to the ledger
    assert not await books.release("r")


async def test_example_3d_a_third_hold_is_refused(books: Books) -> None:
    await books.grant("a", credit=200_000, earned=800_000)
    await books.hold("r1", "a", 500_000)
    await books.hold("r2", "a", 400_000)
    assert await books.balance("a") == (1_000_000, 800_000, 900_000, 700_000)
    with pytest.raises(InsufficientBalance):
        await books.hold("r3", "a", 200_000)
    assert await books.balance("a") == (1_000_000, 800_000, 900_000, 700_000)
    assert await books.rows("SELECT request_id FROM reservations WHERE request_id = 'r3'") == []


async def test_a_repeated_hold_changes_nothing(books: Books) -> None:
    await books.grant("a", credit=150)
    await books.hold("r", "a", 100)
    await books.hold("r", "a", 100)  # the rest of the balance would not even carry it
    assert (await books.balance("a")).held == 100
    with pytest.raises(Conflict):
        await books.hold("r", "a", 40)
    await books.grant("b", credit=1000)
    with pytest.raises(Conflict):
        await books.hold("r", "b", 100)
    await books.release("r")
    with pytest.raises(Conflict):
        await books.hold("r", "a", 100)
    assert (await books.balance("b")).held == 0


async def test_a_repeated_hold_of_a_capped_key_changes_nothing(books: Books) -> None:
    await books.grant("a", credit=5000)
    await books.hold("r", "a", 600, key="k", cap=DAILY)
    await books.hold("r", "a", 600, key="k", cap=DAILY)
    assert (await books.balance("a")).held == 600


async def test_nobody_has_nothing_to_hold(books: Books) -> None:
    with pytest.raises(InsufficientBalance):
        await books.hold("r", "nobody", 1)
    assert await books.rows("SELECT * FROM balances") == []
    with pytest.raises(Invalid):
        await books.hold("r", "nobody", -1)


async def test_the_last_micro_dollar_goes_to_one_of_two(books: Books) -> None:
    await books.grant("a", credit=100)
    outcomes: list[str] = []

    async def take(request: str) -> None:
        try:
            await books.hold(request, "a", 100)
            outcomes.append("held")
        except InsufficientBalance:
            outcomes.append("refused")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, "r1")
        nursery.start_soon(take, "r2")
    assert sorted(outcomes) == ["held", "refused"]
    assert await books.balance("a") == (100, 0, 100, 0)


async def test_a_withdrawal_and_a_hold_race_for_the_same_earnings(books: Books) -> None:
    for n in range(10):
        account = f"a{n}"
        await books.grant(account, earned=100)
        outcomes: list[str] = []

        async def take(account: str = account, outcomes: list[str] = outcomes) -> None:
            try:
                await books.hold(f"r-{account}", account, 60)
                outcomes.append("hold")
            except InsufficientBalance:
                outcomes.append("refused")

        async def withdraw(account: str = account, outcomes: list[str] = outcomes) -> None:
            entries = (Entry(account, "stripe_payout", -60, -60), Entry(STRIPE_OUT, "stripe_payout", 60))
            try:
                await books.store.write(
                    lambda tx: post(tx, "withdraw", f"stripe_withdraw:{account}", entries, books.now)
                )
                outcomes.append("withdraw")
            except InsufficientBalance:
                outcomes.append("refused")

        async with trio.open_nursery() as nursery:
            for racer in (take, withdraw) if n % 2 else (withdraw, take):
                nursery.start_soon(racer)
        assert outcomes.count("refused") == 1
        assert await books.balance(account) == ((40, 40, 0, 0) if "withdraw" in outcomes else (100, 100, 60, 60))


async def test_open_holds_count_against_the_cap(books: Books) -> None:
    await books.grant("a", credit=100_000)
    await books.hold("r1", "a", 600, key="k", cap=DAILY)
    with pytest.raises(CapExceeded) as caught:
        await books.hold("r2", "a", 401, key="k", cap=DAILY)
    assert (caught.value.window, caught.value.cap, caught.value.used) == ("daily", 1000, 600)
    await books.hold("r3", "a", 400, key="k", cap=DAILY)
    await books.hold("r4", "a", 5000, key="other", cap=KeyCap(limit=5000, window="none"))
    await books.settle("r1", "a", 100, key_id="k")
    await books.hold("r5", "a", 500, key="k", cap=DAILY)
    with pytest.raises(CapExceeded):
        await books.hold("r6", "a", 1, key="k", cap=DAILY)


async def test_a_cap_race_never_passes_the_cap(books: Books) -> None:
    await books.grant("a", credit=100_000)
    held: list[str] = []

    async def take(request: str) -> None:
        try:
            await books.hold(request, "a", 300, key="k", cap=DAILY)
            held.append(request)
        except CapExceeded:
            pass

    async with trio.open_nursery() as nursery:
        for n in range(16):
            nursery.start_soon(take, f"r{n}")
    assert len(held) == 3
    assert (await books.balance("a")).held == 900


async def test_the_cap_is_told_before_the_balance(books: Books) -> None:
    await books.grant("a", credit=10)
    with pytest.raises(CapExceeded):
        await books.hold("r", "a", 2000, key="k", cap=DAILY)


async def test_a_window_forgets_yesterday(books: Books) -> None:
    await books.grant("a", credit=100_000)
    await books.hold("r1", "a", 900, key="k", cap=DAILY)
    await books.settle("r1", "a", 900, key_id="k")
    with pytest.raises(CapExceeded):
        await books.hold("r2", "a", 900, key="k", cap=DAILY)
    books.now += 14 * 60 * MINUTE  # the next midnight, UTC
    await books.hold("r2", "a", 900, key="k", cap=DAILY)
    assert await books.store.read(lambda tx: spent(tx, "k", "daily", books.now)) == 0
    assert await books.store.read(lambda tx: spent(tx, "k", "weekly", books.now)) == 900
    with pytest.raises(CapExceeded):
        await books.hold("r3", "a", 200, key="k", cap=KeyCap(limit=1999, window="weekly"))


async def test_raise_and_lower(books: Books) -> None:
    await books.grant("a", credit=100, earned=200)
    await books.hold("r", "a", 80)
    await _raise(books, "r", 250)
    assert await books.balance("a") == (300, 200, 250, 150)
    await _raise(books, "r", 250)
    await _raise(books, "r", 10)  # less than it holds: nothing to do
    assert await books.balance("a") == (300, 200, 250, 150)
    with pytest.raises(InsufficientBalance):
        await _raise(books, "r", 301)
    await _lower(books, "r", 80)
    assert await books.balance("a") == (300, 200, 80, 0)
    await _lower(books, "r", 80)
    await _lower(books, "r", 1000)
    assert await books.balance("a") == (300, 200, 80, 0)
    with pytest.raises(Invalid):
        await _lower(books, "r", -1)
    row = await books.store.read(lambda tx: holds.find(tx, "r"))
    assert row is not None
    assert (row.amount, row.withdrawable, row.state) == (80, 0, "held")


async def test_raise_checks_the_cap_for_the_difference(books: Books) -> None:
    await books.grant("a", credit=100_000)
    await books.hold("r1", "a", 500, key="k", cap=DAILY)
    await books.hold("r2", "a", 400, key="k", cap=DAILY)
    await _raise(books, "r1", 600, DAILY)
    with pytest.raises(CapExceeded):
        await _raise(books, "r1", 601, DAILY)
    assert (await books.balance("a")).held == 1000


async def test_a_closed_hold_is_not_adjusted(books: Books) -> None:
    await books.grant("a", credit=100)
    await books.hold("r", "a", 50)
    await books.release("r")
    for step in (_raise, _lower):
        with pytest.raises(NotFound):
            await step(books, "r", 60)
        with pytest.raises(NotFound):
            await step(books, "unknown", 60)


async def test_expired_holds_are_found_and_extended_ones_are_not(books: Books) -> None:
    await books.grant("a", credit=1000)
    for n in range(3):
        await books.hold(f"r{n}", "a", 10)
        books.now += MINUTE
    books.now += LIFETIME - 2 * MINUTE
    assert await books.store.read(lambda tx: holds.expired(tx, books.now, 10)) == ["r0"]
    later = books.now + LIFETIME
    assert await books.store.write(lambda tx: holds.extend(tx, ["r0", "r1", "gone"], later)) == 2
    assert await books.store.write(lambda tx: holds.extend(tx, [], later)) == 0
    assert await books.store.read(lambda tx: holds.expired(tx, books.now + MINUTE * 2, 10)) == ["r2"]
    moved = books.now
    assert not await books.store.write(lambda tx: holds.release(tx, "r0", "expired", books.now, expired_before=moved))
    assert (await books.balance("a")).held == 30


async def test_a_hold_takes_three_statements_and_a_repetition_no_more_than_four() -> None:
    from tests.testbed.store import open_test_store

    heard: list[str] = []
    async with open_test_store("sqlite", on_statement=heard.append) as store:
        books = Books(store)
        await books.grant("a", credit=10_000)
        for cap in (None, DAILY):
            heard.clear()
            await books.hold(f"r-{cap}", "a", 100, key="k", cap=cap)
            assert len([sql for sql in heard if not sql.startswith(("BEGIN", "COMMIT", "--"))]) == 3
