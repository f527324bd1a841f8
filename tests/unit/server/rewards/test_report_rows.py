"""Pages of reports are found along the account's index, on both engines."""

from __future__ import annotations

import pytest

from server.rewards.report_rows import Cursor, Span, earnings_page, usage_page
from server.store import Store, Tx
from tests.testbed.books import Books


async def fill(books: Books, table: str, rows: int) -> None:
    """Rows of two accounts; each moment has several rows."""
    usage = table == "usage"
    for start in range(0, rows, 2_000):
        values = ", ".join(
            f"('{table}-{n}', '{'ann' if n % 2 else 'bob'}', 'p', 'm', 1, 1, {n // 9}, 0)"
            for n in range(start, min(start + 2_000, rows))
        )
        names = "request_id, account_id, provider_id" if usage else "job_id, account_id, provider_key"
        amount = "cost_micro_usd" if usage else "amount_micro_usd"
        await books.run(
            f"INSERT INTO {table} ({names}, model, prompt_tokens, completion_tokens, created_at, {amount})"
            f" VALUES {values}"
        )


@pytest.mark.parametrize("limit", [1, 7, 50])
async def test_pages_join_without_gap_or_overlap(books: Books, limit: int) -> None:
    await fill(books, "usage", 60)
    await fill(books, "provider_earnings", 60)
    span = Span(since=1, until=6)
    for page_of, name in ((usage_page, "usage"), (earnings_page, "provider_earnings")):
        seen: list[str] = []
        after = span.start
        while True:
            page = await books.store.read(lambda tx, a=after, p=page_of: p(tx, "ann", a, since=1, limit=limit))  # type: ignore[misc, operator]
            seen += [line.job_id for line in page]
            if len(page) < limit:
                break
            after = page[-1].cursor
        assert seen == [f"{name}-{n}" for n in reversed(range(9, 54)) if n % 2]


async def test_an_index_finds_a_page(store: Store, books: Books) -> None:
    await fill(books, "usage", 6_000)
    plans: list[str] = []

    async def explain(tx: Tx) -> None:
        class Explaining:
            async def fetch(self, sql: str, *values: int | str) -> list[dict[str, object]]:
                how = "EXPLAIN QUERY PLAN " if store.kind == "sqlite" else "EXPLAIN "
                plans.extend(str(dict(row)) for row in await tx.fetch(how + sql, *values))
                return []

        await usage_page(Explaining(), "ann", Cursor(300, 100), since=0, limit=5)  # type: ignore[arg-type]

    if store.kind == "postgres":
        await books.run("ANALYZE usage")
    await store.read(explain)
    assert any("ix_usage_" in line or "usage_pkey" in line for line in plans), plans
    assert not any("Seq Scan" in line or "SCAN usage'" in line for line in plans), plans
