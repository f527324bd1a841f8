"""What people see of their money."""

from __future__ import annotations

import pytest

from server.billing import reads
from server.billing.leaderboard import leaderboard, network_totals, period_start, pseudonym
from server.billing.ledger import read_balance
from server.billing.prices import Tokens
from tests.testbed.books import START, Books

HOUR = 3_600_000_000


async def _history(books: Books) -> None:
    """Five requests of `c`, an hour apart, on machines of `o` and `p`; the last one ran on the own machine."""
    await books.grant("c", credit=100_000)
    for n, (owner, cost) in enumerate([("o", 100), ("o", 200), ("p", 1000), (None, 50), ("c", 77)]):
        request = f"r{n}"
        await books.hold(request, "c", 2000)
        await books.settle(
            request,
            "c",
            cost,
            owner=owner,
            tokens=Tokens(10 * n, 0, n),
            job_id=f"job{n}",
            key_id="k1" if n % 2 else "k2",
            provider_key=f"key-{owner}",
        )
        books.now += HOUR


async def test_usage_newest_first_with_pages(books: Books) -> None:
    await _history(books)
    everything = await books.store.read(lambda tx: reads.usage(tx, "c"))
    assert [row.job_id for row in everything] == ["job4", "job3", "job2", "job1", "job0"]
    assert (everything[0].private, everything[0].cost, everything[0].model, everything[0].build) == (
        True,
        0,
        "model",
        "build",
    )
    first = await books.store.read(lambda tx: reads.usage(tx, "c", limit=2))
    second = await books.store.read(lambda tx: reads.usage(tx, "c", limit=2, before=first[-1].row_id))
    assert [row.job_id for row in second] == ["job2", "job1"]
    of_key = await books.store.read(lambda tx: reads.usage(tx, "c", key_id="k1"))
    assert [row.job_id for row in of_key] == ["job3", "job1"]
    assert await books.store.read(lambda tx: reads.usage(tx, "o")) == []


async def test_earnings_of_account_and_machine(books: Books) -> None:
    await _history(books)
    mine = await books.store.read(lambda tx: reads.earnings(tx, account_id="o"))
    assert [(line.job_id, line.amount, line.kind) for line in mine] == [("r1", 200, "work"), ("r0", 100, "work")]
    assert [line.job_id for line in await books.store.read(lambda tx: reads.earnings(tx, account_id="o", limit=1))] == [
        "r1"
    ]
    recent = await books.store.read(lambda tx: reads.earnings(tx, account_id="o", since=START + HOUR))
    assert [line.job_id for line in recent] == ["r1"]
    machine = await books.store.read(lambda tx: reads.earnings(tx, provider_key="key-p"))
    assert [line.account_id for line in machine] == ["p"]
    both = await books.store.read(lambda tx: reads.earnings(tx, account_id="o", provider_key="key-p"))
    assert both == []
    total = await books.store.read(lambda tx: reads.earnings_total(tx, "o", "account"))
    assert (total.count, total.amount, total.prompt_tokens, total.completion_tokens) == (2, 300, 10, 1)
    nobody = await books.store.read(lambda tx: reads.earnings_total(tx, "x", "account"))
    assert nobody == reads.EarningsTotal()
    since = await books.store.read(lambda tx: reads.earned_since(tx, "o", START + HOUR))
    assert (since.count, since.amount, since.base_rewards) == (1, 200, 0)


async def test_earnings_of_nobody_in_particular_are_not_read(books: Books) -> None:
    with pytest.raises(ValueError, match="account or for a machine"):
        await books.store.read(lambda tx: reads.earnings(tx))


async def test_who_owns_a_machine(books: Books) -> None:
    await _history(books)
    assert await books.store.read(lambda tx: reads.owns_machine(tx, "o", "key-o"))
    assert not await books.store.read(lambda tx: reads.owns_machine(tx, "p", "key-o"))
    await books.run(
        "INSERT INTO provider_sessions (session_id, account_id, provider_key, connected_at, last_seen)"
        " VALUES ('s', 'new', 'fresh', 1, 1)"
    )
    assert await books.store.read(lambda tx: reads.owns_machine(tx, "new", "fresh"))


async def test_balance_shows_what_is_free(books: Books) -> None:
    await books.grant("a", credit=100, earned=50)
    await books.hold("r", "a", 120)
    shown = await books.store.read(lambda tx: read_balance(tx, "a"))
    assert (shown.free, shown.free_withdrawable) == (30, 30)
    assert await books.store.read(lambda tx: read_balance(tx, "nobody")) == (0, 0, 0, 0)


async def test_leaderboard_and_totals(books: Books) -> None:
    await _history(books)
    await books.grant("o", earned=5000)
    top = await books.store.read(lambda tx: leaderboard(tx, metric="earnings", since=0, limit=10, secret=b"s"))
    assert [(entry.rank, entry.pseudonym, entry.work, entry.reward, entry.earnings) for entry in top] == [
        (1, pseudonym(b"s", "o"), 300, 5000, 5300),
        (2, pseudonym(b"s", "p"), 1000, 0, 1000),
    ]
    by_jobs = await books.store.read(lambda tx: leaderboard(tx, metric="jobs", since=0, limit=1, secret=b"s"))
    assert [(entry.jobs, entry.tokens) for entry in by_jobs] == [(2, 11)]
    by_tokens = await books.store.read(lambda tx: leaderboard(tx, metric="tokens", since=0, limit=10, secret=b"s"))
    assert [entry.tokens for entry in by_tokens] == [22, 11]
    late = await books.store.read(
        lambda tx: leaderboard(tx, metric="jobs", since=START + 2 * HOUR, limit=10, secret=b"s")
    )
    assert [entry.pseudonym for entry in late] == [pseudonym(b"s", "p")]
    totals = await books.store.read(lambda tx: network_totals(tx, since=0))
    assert (totals.work, totals.reward, totals.earnings, totals.tokens, totals.jobs, totals.active_accounts) == (
        1300,
        5000,
        6300,
        33,
        3,
        2,
    )
    nothing = await books.store.read(lambda tx: network_totals(tx, since=2**50 * 8))
    assert (nothing.work, nothing.active_accounts) == (0, 0)


def test_periods_and_pseudonyms() -> None:
    assert period_start("24h", START) == START - 24 * HOUR
    assert period_start("all", START) == 0
    assert pseudonym(b"a", "x") == pseudonym(b"a", "x") != pseudonym(b"b", "x")
