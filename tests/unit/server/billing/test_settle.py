"""Settling requests: the worked examples, who is paid what, and exactly once."""

from __future__ import annotations

import pytest
import trio

from server.billing.holds import release as release_hold
from server.billing.ledger import PLATFORM, UNCLAIMED
from server.billing.prices import Tariff, Tokens
from server.billing.settle import Settled
from server.store.errors import Invalid
from tests.testbed.books import LIFETIME, Books
from tests.testbed.store import open_test_store


async def test_example_1_an_ordinary_request(books: Books) -> None:
    await books.grant("c", credit=1_000_000)
    await books.hold("r", "c", 1838)
    cost = books.tariff.cost(books.tariff.fallback, Tokens(900, 0, 350), service=False)
    assert cost == 115
    result = await books.settle("r", "c", cost, owner="o", tokens=Tokens(900, 0, 350), job_id="job", key_id="k")
    assert (result.fresh, result.cost, result.payout, result.reserved) == (True, 115, 115, 1838)
    assert await books.balance("c") == (999_885, 0, 0, 0)
    assert await books.balance("o") == (115, 115, 0, 0)
    assert (await books.entries())[2:] == [("c", "charge", -115, 0), ("o", "payout", 115, 115)]
    [usage] = await books.rows("SELECT * FROM usage")
    assert (usage["request_id"], usage["job_id"], usage["account_id"], usage["key_id"]) == ("r", "job", "c", "k")
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["cost_micro_usd"]) == (900, 350, 115)
    assert (usage["private"], usage["model"], usage["public_model"]) == (0, "build", "model")
    [earning] = await books.rows("SELECT * FROM provider_earnings")
    assert (earning["account_id"], earning["provider_key"], earning["job_id"]) == ("o", "key", "r")
    assert (earning["amount_micro_usd"], earning["kind"]) == (115, "work")
    summary = await books.rows("SELECT key, key_type, total_count, total_micro_usd FROM earnings_summary ORDER BY key")
    assert [tuple(row.values()) for row in summary] == [("key", "provider", 1, 115), ("o", "account", 1, 115)]
    [row] = await books.rows("SELECT state, settled_cost_micro_usd FROM reservations")
    assert tuple(row.values()) == ("settled", 115)


async def test_example_2_the_minimum(books: Books) -> None:
    await books.grant("c", credit=1_000_000)
    await books.hold("r", "c", 1838)
    await books.settle("r", "c", books.tariff.cost(books.tariff.fallback, Tokens(10, 0, 5), service=False), owner="o")
    assert (await books.balance("c")).balance == 999_900
    assert await books.balance("o") == (100, 100, 0, 0)


@pytest.mark.parametrize(
    ("cost", "after", "spent"),
    [(250_000, (750_000, 750_000, 0, 0), -50_000), (700_000, (300_000, 300_000, 0, 0), -500_000)],
)
async def test_example_3_credits_before_earnings(books: Books, cost: int, after: tuple[int, ...], spent: int) -> None:
    await books.grant("c", credit=200_000, earned=800_000)
    await books.hold("r", "c", 500_000)
    await books.settle("r", "c", cost, owner="o")
    assert await books.balance("c") == after
    assert ("c", "charge", -cost, spent) in await books.entries("c")


async def test_example_3e_in_the_other_order(books: Books) -> None:
    await books.grant("c", credit=200_000, earned=800_000)
    await books.hold("r1", "c", 500_000)
    await books.hold("r2", "c", 400_000)
    await books.settle("r2", "c", 50_000)
    assert await books.balance("c") == (950_000, 750_000, 500_000, 300_000)
    await books.settle("r1", "c", 100_000)
    assert await books.balance("c") == (850_000, 750_000, 0, 0)


async def test_example_4_twice_the_reservation_at_most(books: Books) -> None:
    await books.grant("c", credit=1_000_000)
    await books.hold("r", "c", 1838)
    result = await books.settle("r", "c", 9000, owner="o")
    assert (result.cost, result.clamped, result.payout) == (3676, True, 3676)


async def test_example_5_only_the_hold_when_there_is_no_more(books: Books) -> None:
    await books.grant("c", credit=1888)
    await books.hold("r", "c", 1838)
    result = await books.settle("r", "c", 2000, owner="o")
    assert (result.cost, result.uncollected, result.payout) == (1838, True, 1838)
    assert await books.balance("c") == (50, 0, 0, 0)
    [row] = await books.rows("SELECT settled_cost_micro_usd FROM reservations")
    assert row["settled_cost_micro_usd"] == 1838


async def test_example_6_the_own_machine_is_free(books: Books) -> None:
    await books.grant("c", credit=5000)
    await books.hold("r", "c", 1838)
    before = await books.entries()
    result = await books.settle("r", "c", 500, owner="c")
    assert (result.fresh, result.cost, result.private) == (True, 0, True)
    assert await books.balance("c") == (5000, 0, 0, 0)
    assert await books.entries() == before
    assert await books.rows("SELECT * FROM provider_earnings") == []
    [usage] = await books.rows("SELECT private, cost_micro_usd FROM usage")
    assert tuple(usage.values()) == (1, 0)


async def test_self_route_without_a_hold_needs_no_money(books: Books) -> None:
    result = await books.settle("r", "c", 500, owner="c", funding="direct")
    assert (result.fresh, result.cost, result.private) == (True, 0, True)
    assert await books.entries() == []
    assert await books.rows("SELECT * FROM balances") == []
    assert len(await books.rows("SELECT * FROM usage WHERE private = 1 AND cost_micro_usd = 0")) == 1
    assert not (await books.settle("r", "c", 500, owner="c", funding="direct")).fresh


async def test_self_route_on_a_foreign_machine_is_charged_or_nothing(books: Books) -> None:
    await books.grant("rich", credit=700)
    paid = await books.settle("r1", "rich", 500, owner="o", funding="direct")
    assert (paid.cost, paid.payout, paid.uncollected) == (500, 500, False)
    poor = await books.settle("r2", "rich", 500, owner="o", funding="direct")
    assert (poor.cost, poor.payout, poor.uncollected) == (0, 0, True)
    none = await books.settle("r3", "nobody", 500, owner="o", funding="direct")
    assert (none.cost, none.payout, none.uncollected) == (0, 0, True)
    assert await books.balance("o") == (500, 500, 0, 0)
    assert await books.balance("rich") == (200, 0, 0, 0)


async def test_without_a_machine_owner_the_share_is_unclaimed(books: Books) -> None:
    await books.grant("c", credit=5000)
    await books.hold("r", "c", 1000)
    await books.settle("r", "c", 213)
    assert await books.entries(UNCLAIMED) == [(UNCLAIMED, "payout", 213, 0)]
    summary = await books.rows("SELECT key_type FROM earnings_summary")
    assert [row["key_type"] for row in summary] == ["provider"]


async def test_fee_and_referral(books: Books) -> None:
    await books.user("o", fee=10)
    await books.grant("c", credit=5000)
    await books.refer("c", "friend")
    await books.hold("r", "c", 1000)
    result = await books.settle("r", "c", 213, owner="o")
    assert (result.payout, result.reward, result.platform) == (192, 4, 17)
    assert await books.balance("friend") == (4, 4, 0, 0)
    assert (await books.entries())[2:] == [
        ("c", "charge", -213, 0),
        ("o", "payout", 192, 192),
        ("friend", "referral_reward", 4, 4),
        (PLATFORM, "platform_fee", 17, 0),
    ]


async def test_a_referrer_who_serves_the_request_gets_no_reward(books: Books) -> None:
    await books.user("o", fee=10)
    await books.grant("c", credit=5000)
    await books.refer("c", "o")
    await books.hold("r", "c", 1000)
    result = await books.settle("r", "c", 213, owner="o")
    assert (result.payout, result.reward, result.platform) == (192, 0, 21)
    assert await books.balance("o") == (192, 192, 0, 0)


async def test_a_fee_of_everything_leaves_no_earning(books: Books) -> None:
    await books.user("o", fee=100)
    await books.grant("c", credit=5000)
    await books.hold("r", "c", 1000)
    result = await books.settle("r", "c", 150, owner="o")
    assert (result.payout, result.platform) == (0, 150)
    assert await books.rows("SELECT * FROM provider_earnings") == []
    assert await books.entries("o") == []


async def test_the_global_fee_counts_without_an_own_one(books: Books) -> None:
    books.tariff = Tariff(platform_fee_percent=5)
    await books.grant("c", credit=5000)
    await books.hold("r", "c", 1000)
    result = await books.settle("r", "c", 150, owner="o")
    assert (result.payout, result.platform) == (143, 7)


async def test_a_covered_account_is_paid_for_by_the_platform(books: Books) -> None:
    await books.user("o", fee=10)
    result = await books.settle("r", "admin", 213, owner="o", funding="covered", reserved=1000)
    assert (result.cost, result.payout, result.platform) == (213, 192, 21)
    assert await books.entries() == [
        (PLATFORM, "covered_usage", -213, 0),
        ("o", "payout", 192, 192),
        (PLATFORM, "platform_fee", 21, 0),
    ]
    [usage] = await books.rows("SELECT account_id, cost_micro_usd FROM usage")
    assert tuple(usage.values()) == ("admin", 0)
    clamped = await books.settle("r2", "admin", 9000, owner="o", funding="covered", reserved=1000)
    assert (clamped.cost, clamped.clamped) == (2000, True)
    assert not (await books.settle("r", "admin", 213, owner="o", funding="covered", reserved=1000)).fresh


async def test_no_tokens_cost_nothing_and_still_close_the_books(books: Books) -> None:
    await books.grant("c", credit=5000)
    await books.hold("r", "c", 1000)
    result = await books.settle("r", "c", 0, owner="o", tokens=Tokens(0, 0, 0))
    assert (result.fresh, result.cost, result.payout) == (True, 0, 0)
    assert await books.balance("c") == (5000, 0, 0, 0)
    assert len(await books.rows("SELECT * FROM ledger_txns WHERE kind = 'settle'")) == 1
    assert await books.entries("o") == []


async def test_a_repetition_says_what_was_charged(books: Books) -> None:
    await books.grant("c", credit=5000)
    await books.hold("r", "c", 1000)
    await books.settle("r", "c", 213, owner="o")
    before = await books.entries()
    again = await books.settle("r", "c", 999, owner="o")
    assert again == Settled(fresh=False, cost=213)
    assert await books.entries() == before


async def test_after_a_release_nothing_is_charged(books: Books) -> None:
    await books.grant("c", credit=5000)
    await books.hold("r", "c", 1000)
    await books.release("r")
    for funding in ("hold", "direct"):
        assert await books.settle("r", "c", 213, owner="o", funding=funding) == Settled(fresh=False, cost=0)
    assert await books.balance("c") == (5000, 0, 0, 0)
    assert await books.rows("SELECT * FROM usage") == []


async def test_a_hold_of_somebody_else_is_not_touched(books: Books) -> None:
    await books.grant("c", credit=5000)
    await books.hold("r", "c", 1000)
    assert not (await books.settle("r", "thief", 213, owner="o")).fresh
    assert (await books.balance("c")).held == 1000


async def test_direct_funding_uses_a_hold_that_is_there(books: Books) -> None:
    await books.grant("c", credit=1000)
    await books.hold("r", "c", 1000)
    assert (await books.settle("r", "c", 213, owner="o", funding="direct")).cost == 213
    assert await books.balance("c") == (787, 0, 0, 0)


async def test_an_owner_at_the_bound_is_refused_and_nothing_moves(books: Books) -> None:
    await books.grant("o", credit=2**53 - 1)
    await books.grant("c", credit=5000)
    await books.hold("r", "c", 1000)
    with pytest.raises(Invalid):
        await books.settle("r", "c", 213, owner="o")
    assert await books.balance("c") == (5000, 0, 1000, 0)


async def test_a_bill_that_can_never_be_is_refused(books: Books) -> None:
    with pytest.raises(Invalid):
        await books.settle("r", "c", -1)
    with pytest.raises(Invalid):
        await books.settle("", "c", 1)


async def test_fifty_copies_of_one_settlement_have_one_effect(books: Books) -> None:
    await books.grant("c", credit=100_000)
    await books.hold("r", "c", 1000)
    results: list[Settled] = []

    async def settle() -> None:
        results.append(await books.settle("r", "c", 213, owner="o"))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(settle)
    assert sum(result.fresh for result in results) == 1
    assert {result.cost for result in results} == {213}
    assert await books.balance("c") == (99_787, 0, 0, 0)
    assert await books.balance("o") == (213, 213, 0, 0)


async def test_example_7_settle_release_and_sweep_race_fifty_times(books: Books) -> None:
    await books.grant("c", credit=100_000)
    settled = 0
    for n in range(50):
        request = f"r{n}"
        await books.hold(request, "c", 1000)
        won: list[str] = []

        async def settle(request: str = request, won: list[str] = won) -> None:
            if (await books.settle(request, "c", 213, owner="o")).fresh:
                won.append("settle")

        async def release(request: str = request, won: list[str] = won) -> None:
            if await books.release(request):
                won.append("release")

        async def sweep(request: str = request, won: list[str] = won) -> None:
            far = books.now + 2 * LIFETIME
            if await books.store.write(lambda tx: release_hold(tx, request, "expired", books.now, expired_before=far)):
                won.append("sweep")

        racers = [[settle, release, sweep], [release, sweep, settle], [sweep, settle, settle]][n % 3]
        async with trio.open_nursery() as nursery:
            for racer in racers:
                nursery.start_soon(racer)
        assert len(won) == 1
        settled += won == ["settle"]
    assert await books.balance("c") == (100_000 - settled * 213, 0, 0, 0)
    assert (await books.balance("o")).balance == settled * 213


async def test_a_cancelled_settlement_is_whole_or_not_at_all(books: Books) -> None:
    await books.grant("c", credit=100_000)
    for n in range(20):
        request = f"r{n}"
        await books.hold(request, "c", 1000)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(books.settle, request, "c", 213)
                for _ in range(n):
                    await trio.lowlevel.checkpoint()
                scope.cancel()
        assert await books.problems() == []
        await books.settle(request, "c", 213)
    assert (await books.balance("c")).held == 0


async def test_a_paid_request_takes_at_most_twelve_statements() -> None:
    heard: list[str] = []
    async with open_test_store("sqlite", on_statement=heard.append) as store:
        books = Books(store)
        await books.user("o", fee=10)
        await books.grant("c", credit=10_000)
        await books.refer("c", "friend")
        for request, most in (("first payout of an owner", 12), ("later", 11)):
            heard.clear()
            await books.hold(request, "c", 1000)
            await books.settle(request, "c", 213, owner="o")
            assert len([sql for sql in heard if not sql.startswith(("BEGIN", "COMMIT", "--"))]) == most
