"""The public leaderboard and totals: names that tell nothing, caches, and mistakes."""

from __future__ import annotations

import re

import pytest

from tests.testbed.books import Books
from tests.unit.server.api.reward_site import RewardSite
from tests.unit.server.api.test_earnings import draw, earn

BOARD = "/v1/leaderboard"
TOTALS = "/v1/network/totals"


@pytest.fixture
def site(books: Books) -> RewardSite:
    return RewardSite(books)


async def test_the_leaderboard(site: RewardSite) -> None:
    await earn(site.books, "r1", 1_000)
    await draw(site.books, "studio", 2_016)
    await earn(site.books, "r2", 2_000, owner="bob")
    await site.books.grant("bob", earned=5_000)
    answer = await site.ask("GET", BOARD, by="")
    first, second = answer.json.pop("entries")
    assert answer.json == {"metric": "earnings", "window": "all", "updated_at": "2026-07-15T10:00:00Z"}
    names = [first.pop("pseudonym"), second.pop("pseudonym")]
    assert len(set(names)) == 2
    assert all(re.fullmatch(r"[a-z]+-[a-z]+-\d{4}", name) for name in names)
    assert first == {
        "rank": 1,
        "earnings_micro_usd": 7_000,
        "work_earnings_micro_usd": 2_000,
        "reward_earnings_micro_usd": 5_000,
        "tokens": 10,
        "jobs": 1,
    }
    assert second == {
        "rank": 2,
        "earnings_micro_usd": 3_016,
        "work_earnings_micro_usd": 3_016,
        "reward_earnings_micro_usd": 0,
        "tokens": 10,
        "jobs": 1,
    }
    assert not {b"ann", b"bob"} & set(re.findall(rb"\b(?:ann|bob)\b", answer.body))


async def test_names_stay_the_same_in_every_list(site: RewardSite) -> None:
    await earn(site.books, "r1", 1_000)
    names = set()
    for metric in ("earnings", "tokens", "jobs"):
        for window in ("24h", "1d", "7d", "30d", "all", "lifetime"):
            (entry,) = (await site.ask("GET", f"{BOARD}?metric={metric}&window={window}", by="")).json["entries"]
            names.add(entry["pseudonym"])
    assert len(names) == 1


async def test_windows_leave_out_what_is_older(site: RewardSite) -> None:
    await earn(site.books, "r1", 1_000)
    site.books.now += 8 * 86_400_000_000
    await earn(site.books, "r2", 2_000, owner="bob")
    assert len((await site.ask("GET", f"{BOARD}?window=7d", by="")).json["entries"]) == 1
    assert len((await site.ask("GET", f"{BOARD}?window=30d", by="")).json["entries"]) == 2
    week = (await site.ask("GET", f"{TOTALS}?window=7d", by="")).json
    assert (week["window"], week["earnings_micro_usd"], week["active_accounts"]) == ("7d", 2_000, 1)


async def test_how_many_entries(site: RewardSite) -> None:
    for number in range(60):
        await earn(site.books, f"r{number}", 1_000 + number, owner=f"owner-{number}")
    for text, count in (
        ("", 50),
        ("?limit=3", 3),
        ("?limit=200", 60),
        ("?limit=5000", 50),
        ("?limit=0", 50),
        ("?limit=x", 50),
    ):
        entries = (await site.ask("GET", BOARD + text, by="")).json["entries"]
        assert len(entries) == count
        assert [entry["rank"] for entry in entries] == list(range(1, count + 1))


async def test_the_totals(site: RewardSite) -> None:
    await earn(site.books, "r1", 1_000)
    await earn(site.books, "r2", 2_000, owner="bob")
    await site.books.grant("bob", earned=5_000)
    answer = await site.ask("GET", TOTALS, by="")
    assert answer.json == {
        "window": "all",
        "earnings_micro_usd": 8_000,
        "work_earnings_micro_usd": 3_000,
        "reward_earnings_micro_usd": 5_000,
        "tokens": 20,
        "jobs": 2,
        "active_accounts": 2,
        "updated_at": "2026-07-15T10:00:00Z",
    }


async def test_an_empty_network(site: RewardSite) -> None:
    assert (await site.ask("GET", BOARD, by="")).json["entries"] == []
    totals = (await site.ask("GET", TOTALS, by="")).json
    assert (totals["earnings_micro_usd"], totals["tokens"], totals["jobs"], totals["active_accounts"]) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("path", "param"),
    [(f"{BOARD}?metric=x", "metric"), (f"{BOARD}?window=1h", "window"), (f"{TOTALS}?window=", "window")],
)
async def test_mistakes_list_what_is_allowed(site: RewardSite, path: str, param: str) -> None:
    answer = await site.ask("GET", path, by="")
    assert answer.error == (400, "invalid_request_error", param)
    assert "24h" in answer.json["error"]["message"] or "earnings" in answer.json["error"]["message"]


@pytest.mark.parametrize(("path", "seconds"), [(BOARD, 300), (TOTALS, 60)])
async def test_answers_are_kept(site: RewardSite, path: str, seconds: int) -> None:
    before = await site.ask("GET", path, by="")
    assert before.headers["cache-control"] == "public, max-age=60"
    site.books.now += 1_000_000
    await earn(site.books, "r1", 1_000)
    site.seconds = seconds - 0.1
    assert (await site.ask("GET", path, by="")).body == before.body
    site.store.down = True
    site.seconds = seconds
    assert (await site.ask("GET", path, by="")).body == before.body
    site.store.down = False
    assert (await site.ask("GET", path, by="")).body != before.body


async def test_who_has_an_answer_is_told_so(site: RewardSite) -> None:
    first = await site.ask("GET", BOARD, by="")
    tag = first.headers["etag"]
    again = await site.ask("GET", BOARD, by="", headers={"If-None-Match": f'W/"other", {tag}'})
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    assert (await site.ask("GET", BOARD, by="", headers={"If-None-Match": '"other"'})).status == 200


async def test_nothing_known_and_no_database(site: RewardSite) -> None:
    site.store.down = True
    for path in (BOARD, TOTALS):
        assert (await site.ask("GET", path, by="")).error[:2] == (503, "service_unavailable")
