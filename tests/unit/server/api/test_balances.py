"""Balances and the summary of an owner over HTTP."""

from __future__ import annotations

import pytest

from tests.testbed.books import Books
from tests.unit.server.api.reward_site import RewardSite

HOUR = 3_600_000_000


@pytest.fixture
def site(books: Books) -> RewardSite:
    return RewardSite(books)


@pytest.mark.parametrize("by", ["key:ann", "session:ann", "ownerless:ann"])
async def test_a_balance_is_what_is_free(site: RewardSite, by: str) -> None:
    await site.books.grant("ann", credit=200_000, earned=1_300_000)
    await site.books.hold("r1", "ann", 500_000)
    answer = await site.ask("GET", "/v1/payments/balance", by=by)
    assert (answer.status, answer.json) == (
        200,
        {
            "balance_micro_usd": 1_000_000,
            "balance_usd": "1.000000",
            "withdrawable_micro_usd": 1_000_000,
            "withdrawable_usd": "1.000000",
        },
    )
    assert answer.headers["cache-control"] == "private, no-store"


async def test_an_account_without_money_has_zeros(site: RewardSite) -> None:
    answer = await site.ask("GET", "/v1/payments/balance", by="key:new")
    assert set(answer.json.values()) == {0, "0.000000"}


async def test_a_balance_that_cannot_be_read_is_no_zero(site: RewardSite) -> None:
    site.store.down = True
    assert (await site.ask("GET", "/v1/payments/balance")).error[:2] == (503, "service_unavailable")
    assert (await site.ask("GET", "/v1/payments/balance", by="")).status == 401


async def earn(site: RewardSite, name: str, amount: int, *, hours_ago: float) -> None:
    books, now = site.books, site.books.now
    books.now -= round(hours_ago * HOUR)
    await books.grant("cara", credit=amount)
    await books.hold(name, "cara", amount)
    await books.settle(name, "cara", amount, owner="ann")
    books.now = now


async def test_the_summary_of_an_owner(site: RewardSite) -> None:
    await site.books.user("ann")
    await site.books.run(
        "UPDATE users SET stripe_account_id = 'acct_1', stripe_account_status = 'ready' WHERE account_id = $1", "ann"
    )
    for number, hours in enumerate((1, 25, 24 * 8)):
        await earn(site, f"r{number}", 10**number * 100, hours_ago=hours)
    answer = await site.ask("GET", "/v1/me/summary", by="session:ann")
    assert (answer.status, answer.json) == (
        200,
        {
            "account_id": "ann",
            "available_balance_micro_usd": 11_100,
            "withdrawable_balance_micro_usd": 11_100,
            "payout_ready": True,
            "lifetime_micro_usd": 11_100,
            "lifetime_jobs": 3,
            "last_24h_micro_usd": 100,
            "last_24h_jobs": 1,
            "last_7d_micro_usd": 1_100,
            "last_7d_jobs": 2,
            "counts": {
                "total": 2,
                "online": 1,
                "serving": 0,
                "offline": 1,
                "untrusted": 0,
                "hardware": 0,
                "needs_attention": 1,
            },
            "latest_provider_version": "1.4.0",
            "min_provider_version": "1.2.0",
        },
    )


async def test_a_newcomer_is_not_ready_to_be_paid(site: RewardSite) -> None:
    answer = await site.ask("GET", "/v1/me/summary", by="session:new")
    assert (answer.status, answer.json["payout_ready"], answer.json["lifetime_jobs"]) == (200, False, 0)


async def test_an_api_key_sees_no_summary(site: RewardSite) -> None:
    assert (await site.ask("GET", "/v1/me/summary")).error[:2] == (403, "forbidden")
