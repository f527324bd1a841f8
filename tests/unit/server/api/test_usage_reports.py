"""Usage over HTTP: pages, and exports as long as the history."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
import trio

from server.billing.prices import Tokens
from server.rewards import exports as module
from server.rewards.exports import MAX_AT_ONCE, ExportDesk
from server.rewards.report_rows import PAGE_ROWS
from tests.testbed.books import Books
from tests.unit.server.api.reward_site import RewardSite

PATH = "/v1/payments/usage"
EXPORT = "/v1/payments/usage/export"
SECOND = 1_000_000


@pytest.fixture
def site(books: Books) -> RewardSite:
    return RewardSite(books)


async def spend(books: Books, name: str, *, account: str = "ann", **more: Any) -> None:
    await books.grant(account, credit=213)
    await books.hold(name, account, 213)
    await books.settle(name, account, 213, **{"tokens": Tokens(10_000, 8_000, 200), "job_id": f"job-{name}", **more})


async def test_usage_is_the_newest_first(site: RewardSite) -> None:
    await spend(site.books, "r1", key_id="key_1", public_model="llama", model="llama-build")
    site.books.now += 61 * SECOND
    await spend(site.books, "r2", key_id="key_2")
    await spend(site.books, "r3", account="bob")
    answer = await site.ask("GET", PATH)
    assert [row["job_id"] for row in answer.json["usage"]] == ["job-r2", "job-r1"]
    assert answer.json["usage"][1] == {
        "job_id": "job-r1",
        "model": "llama",
        "prompt_tokens": 10_000,
        "cached_tokens": 8_000,
        "completion_tokens": 200,
        "cost_micro_usd": 213,
        "key_id": "key_1",
        "timestamp": "2026-07-15T10:00:00Z",
    }
    assert "next_before" not in answer.json
    mine = await site.ask("GET", f"{PATH}?key_id=key_2")
    assert [row["job_id"] for row in mine.json["usage"]] == ["job-r2"]


async def test_pages_follow_each_other(site: RewardSite) -> None:
    for number in range(5):
        await spend(site.books, f"r{number}")
    seen: list[str] = []
    path = f"{PATH}?limit=2"
    for _ in range(3):
        page = (await site.ask("GET", path)).json
        seen += [row["job_id"] for row in page["usage"]]
        path = f"{PATH}?limit=2&before={page.get('next_before')}"
    assert seen == [f"job-r{number}" for number in (4, 3, 2, 1, 0)]
    assert "next_before" not in page


async def test_nobody_is_told_of_others(site: RewardSite) -> None:
    await spend(site.books, "r1")
    assert (await site.ask("GET", PATH, by="key:bob")).json == {"usage": []}
    for path in (PATH, EXPORT):
        assert (await site.ask("GET", path, by="")).status == 401
    assert (await site.ask("GET", f"{PATH}?limit=x")).error == (400, "invalid_request_error", "limit")


async def test_an_export_in_csv(site: RewardSite) -> None:
    await spend(site.books, "r1", key_id="key_1", public_model="=SUM(A1)")
    answer = await site.ask("GET", EXPORT)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/csv; charset=utf-8")
    assert answer.headers["content-disposition"] == 'attachment; filename="darkbloom-usage.csv"'
    assert answer.headers["cache-control"] == "private, no-store"
    (row,) = csv.DictReader(io.StringIO(answer.body.decode(), newline=""))
    assert row == {
        "timestamp": "2026-07-15T10:00:00Z",
        "job_id": "job-r1",
        "key_id": "key_1",
        "model": "'=SUM(A1)",
        "prompt_tokens": "10000",
        "cached_tokens": "8000",
        "completion_tokens": "200",
        "reasoning_tokens": "0",
        "cost_micro_usd": "213",
        "cost_usd": "0.000213",
        "own_machine": "false",
    }


async def test_an_export_in_json_lines_of_a_period(site: RewardSite) -> None:
    for name in ("before", "first", "last", "after"):
        await spend(site.books, name)
        site.books.now += 60 * SECOND
    since, until = "2026-07-15T10:01:00Z", "2026-07-15T10:03:00Z"
    answer = await site.ask("GET", f"{EXPORT}?format=jsonl&since={since}&until={until}")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line)["job_id"] for line in answer.body.splitlines()] == ["job-last", "job-first"]


async def fill(books: Books, rows: int) -> None:
    """Write usage rows that share few moments, without their money: the audit of this test would not like them."""
    values = ", ".join(
        f"('many-{n}', 'job-{n}', 'ann', 'p', 'm', 1, 1, 0, {1_784_109_600_000_000 + n // 7})" for n in range(rows)
    )
    await books.run(
        "INSERT INTO usage (request_id, job_id, account_id, provider_id, model, prompt_tokens, completion_tokens,"
        f" cost_micro_usd, created_at) VALUES {values}"
    )


@pytest.mark.parametrize("rows", [0, 1, PAGE_ROWS, 2 * PAGE_ROWS + 7])
async def test_an_export_has_every_row_once(site: RewardSite, rows: int) -> None:
    if rows:
        await fill(site.books, rows)
        site.books.now += SECOND
    answer = await site.ask("GET", f"{EXPORT}?format=jsonl")
    assert answer.complete
    assert [json.loads(line)["job_id"] for line in answer.body.splitlines()] == [
        f"job-{n}" for n in reversed(range(rows))
    ]


async def test_an_outage_before_the_first_byte_is_an_answer(site: RewardSite) -> None:
    site.store.down = True
    assert (await site.ask("GET", EXPORT)).error[:2] == (503, "service_unavailable")
    site.store.down = False
    assert (await site.ask("GET", EXPORT)).status == 200


async def test_an_outage_in_the_middle_breaks_the_file_off(site: RewardSite, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(site.books, PAGE_ROWS)
    site.books.now += SECOND
    real = module.table_head

    def head(*arguments: Any) -> bytes:
        site.store.down = True
        return real(*arguments)

    monkeypatch.setattr(module, "table_head", head)
    answer = await site.ask("GET", EXPORT)
    assert (answer.status, answer.complete) == (200, False)
    assert site.exports._slots.available_tokens == MAX_AT_ONCE


async def test_only_so_many_exports_at_once(books: Books) -> None:
    desk = ExportDesk(at_once=1)
    site = RewardSite(books, exports=desk)
    async with desk._slots:
        answer = await site.ask("GET", EXPORT)
        assert answer.error[:2] == (429, "rate_limit_exceeded")
        assert answer.headers["retry-after"] == "5"
    assert (await site.ask("GET", EXPORT)).status == 200
    assert (await site.ask("GET", f"{EXPORT}?format=pdf")).error == (400, "invalid_request_error", "format")
    await trio.lowlevel.checkpoint()
    assert desk._slots.available_tokens == 1


async def test_head_has_no_body(site: RewardSite) -> None:
    await spend(site.books, "r1")
    answer = await site.ask("HEAD", EXPORT)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-disposition"] == 'attachment; filename="darkbloom-usage.csv"'
