"""Earnings over HTTP: of an account, of a machine, by machine and model, and as files."""

from __future__ import annotations

import csv
import io
import json

import pytest

from server.billing.prices import Tokens
from server.rewards.allocation import Claim
from server.rewards.draws import Draw, record_draws
from server.rewards.epochs import Epoch
from tests.testbed.books import Books
from tests.unit.server.api.reward_site import MACHINE_TOKEN, RewardSite

ACCOUNT = "/v1/provider/account-earnings"
NODE = "/v1/provider/node-earnings"


@pytest.fixture
def site(books: Books) -> RewardSite:
    return RewardSite(books)


async def earn(
    books: Books, name: str, amount: int, *, owner: str = "ann", key: str = "studio", model: str = "llama"
) -> None:
    await books.grant("cara", credit=amount)
    await books.hold(name, "cara", amount)
    await books.settle(
        name, "cara", amount, owner=owner, provider_key=key, provider_id=f"p-{key}", model=model, tokens=Tokens(7, 0, 3)
    )


async def draw(books: Books, key: str, amount: int) -> None:
    claim = Claim(provider_key=key, account_id="ann", memory_gb=64, floor=amount, organic=0, draw=amount)
    given = Draw(claim=claim, provider_id=f"p-{key}", uptime_ms=300_000, amount=amount)
    epoch = Epoch.containing(books.now)
    await books.store.write(lambda tx: record_draws(tx, epoch, [given], books.now))


@pytest.mark.parametrize("by", ["key:ann", "session:ann", MACHINE_TOKEN])
async def test_what_an_account_earned(site: RewardSite, by: str) -> None:
    await earn(site.books, "r1", 1_000)
    await draw(site.books, "studio", 2_016)
    await earn(site.books, "r2", 5_000, owner="bob", key="other")
    answer = await site.ask("GET", f"{ACCOUNT}?limit=10", by=by)
    assert answer.status == 200
    reward, work = answer.json.pop("earnings")
    assert work == {
        "id": work["id"],
        "account_id": "ann",
        "provider_id": "p-studio",
        "provider_key": "studio",
        "job_id": "r1",
        "model": "llama",
        "amount_micro_usd": 1_000,
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "created_at": "2026-07-15T10:00:00Z",
    }
    assert (reward["model"], reward["job_id"]) == ("base_reward", "floor:2026-07-15T10:00Z:studio")
    assert answer.json == {
        "account_id": "ann",
        "total_micro_usd": 3_016,
        "total_usd": "0.003016",
        "count": 1,
        "recent_count": 2,
        "history_limit": 10,
        "available_balance_micro_usd": 3_016,
        "available_balance_usd": "0.003016",
        "withdrawable_balance_micro_usd": 3_016,
        "withdrawable_balance_usd": "0.003016",
    }


async def test_a_machine_that_was_unlinked_is_told_to_log_in(site: RewardSite) -> None:
    for path in (ACCOUNT, f"{ACCOUNT}/export", "/v1/provider/earnings/by-model"):
        answer = await site.ask("GET", path, by="eigeninference-pt-" + "b" * 64)
        assert answer.error[:2] == (401, "authentication_error")
        assert "darkbloom login" in answer.json["error"]["message"]
        assert (await site.ask("GET", path, by="")).status == 401


async def test_the_default_and_the_largest_history(site: RewardSite) -> None:
    assert (await site.ask("GET", ACCOUNT)).json["history_limit"] == 50
    assert (await site.ask("GET", f"{ACCOUNT}?limit=5000")).json["history_limit"] == 1000
    assert (await site.ask("GET", f"{ACCOUNT}?limit=none")).error == (400, "invalid_request_error", "limit")


async def test_a_machine_belongs_to_its_owner(site: RewardSite) -> None:
    await earn(site.books, "r1", 1_000)
    await earn(site.books, "r2", 300, owner="bob")
    mine = await site.ask("GET", f"{NODE}?provider_key=studio")
    assert [row["job_id"] for row in mine.json.pop("earnings")] == ["r1"]
    assert mine.json == {
        "provider_key": "studio",
        "total_micro_usd": 1_000,
        "total_usd": "0.001000",
        "count": 1,
        "recent_count": 1,
        "history_limit": 50,
    }
    for by in ("admin", "boss"):
        whole = await site.ask("GET", f"{NODE}?provider_key=studio", by=by)
        assert (whole.json["total_micro_usd"], whole.json["count"]) == (1_300, 2)
    for by in ("key:eve", "key:boss", "session:eve"):
        assert (await site.ask("GET", f"{NODE}?provider_key=studio", by=by)).error[:2] == (403, "forbidden")
    assert (await site.ask("GET", f"{NODE}?provider_key=unknown")).status == 403
    assert (await site.ask("GET", NODE)).error == (400, "invalid_request_error", "provider_key")
    assert (await site.ask("GET", f"{NODE}?provider_key=studio", by="")).status == 401


async def test_the_old_way_by_wallet_is_empty(site: RewardSite) -> None:
    nothing = {
        "balance_micro_usd": 0,
        "balance_usd": "0.000000",
        "total_earned_micro_usd": 0,
        "total_earned_usd": "0.000000",
        "total_jobs": 0,
        "payouts": [],
        "ledger": [],
    }
    assert (await site.ask("GET", "/v1/provider/earnings?wallet=0xabc", by="")).json == nothing
    by_header = await site.ask("GET", "/v1/provider/earnings", by="", headers={"X-Provider-Wallet": "0xabc"})
    assert by_header.json == nothing
    assert (await site.ask("GET", "/v1/provider/earnings", by="")).error == (400, "invalid_request_error", "wallet")


async def test_earnings_by_machine_and_by_model(site: RewardSite) -> None:
    await site.books.run(
        "INSERT INTO providers (id, account_id, public_key, display_name, registered_at, last_seen)"
        " VALUES ('m1', 'ann', 'studio', '=my studio', 1, 1)"
    )
    await earn(site.books, "r1", 1_000)
    await earn(site.books, "r2", 500, key="mini")
    await earn(site.books, "r3", 200, model="qwen")
    await draw(site.books, "mini", 2_016)
    await earn(site.books, "r4", 9_000, owner="bob")
    devices = (await site.ask("GET", "/v1/provider/earnings/by-device")).json
    assert (devices["object"], devices["since"], devices["until"]) == ("list", None, "2026-07-15T10:00:00Z")
    sums = {"prompt_tokens": 14, "completion_tokens": 6, "last_at": "2026-07-15T10:00:00Z"}
    assert devices["data"] == [
        {
            "provider_key": "mini",
            "display_name": "",
            "jobs": 1,
            "amount_micro_usd": 2_516,
            "amount_usd": "0.002516",
            "base_reward_micro_usd": 2_016,
            **sums,
            "prompt_tokens": 7,
            "completion_tokens": 3,
        },
        {
            "provider_key": "studio",
            "display_name": "=my studio",
            "jobs": 2,
            "amount_micro_usd": 1_200,
            "amount_usd": "0.001200",
            "base_reward_micro_usd": 0,
            **sums,
        },
    ]
    models = (await site.ask("GET", "/v1/provider/earnings/by-model", by=MACHINE_TOKEN)).json["data"]
    assert [(row["model"], row["jobs"], row["amount_micro_usd"]) for row in models] == [
        ("base_reward", 0, 2_016),
        ("llama", 2, 1_500),
        ("qwen", 1, 200),
    ]
    table = await site.ask("GET", "/v1/provider/earnings/by-device?format=csv")
    assert table.headers["content-type"].startswith("text/csv")
    assert table.headers["content-disposition"] == 'attachment; filename="darkbloom-earnings-by-device.csv"'
    rows = list(csv.DictReader(io.StringIO(table.body.decode(), newline="")))
    assert [(row["display_name"], row["amount_micro_usd"]) for row in rows] == [("", "2516"), ("'=my studio", "1200")]
    lines = await site.ask("GET", "/v1/provider/earnings/by-model?format=jsonl")
    assert [json.loads(line)["model"] for line in lines.body.splitlines()] == ["base_reward", "llama", "qwen"]


async def test_groups_of_a_period(site: RewardSite) -> None:
    await earn(site.books, "r1", 1_000)
    site.books.now += 25 * 3_600_000_000
    await earn(site.books, "r2", 500)
    answer = await site.ask("GET", "/v1/provider/earnings/by-model?window=24h")
    assert [row["amount_micro_usd"] for row in answer.json["data"]] == [500]
    assert (await site.ask("GET", "/v1/provider/earnings/by-model?window=2h")).error[2] == "window"


async def test_earnings_as_a_file(site: RewardSite) -> None:
    await earn(site.books, "r1", 1_000, model="@evil")
    await earn(site.books, "r2", 500, key="mini")
    await draw(site.books, "mini", 2_016)
    await earn(site.books, "r3", 9_000, owner="bob")
    answer = await site.ask("GET", f"{ACCOUNT}/export", by=MACHINE_TOKEN)
    assert answer.headers["content-disposition"] == 'attachment; filename="darkbloom-earnings.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.body.decode(), newline="")))
    assert [(row["job_id"], row["kind"], row["model"], row["amount_usd"]) for row in rows] == [
        ("floor:2026-07-15T10:00Z:mini", "base_reward", "base_reward", "0.002016"),
        ("r2", "work", "llama", "0.000500"),
        ("r1", "work", "'@evil", "0.001000"),
    ]
    one = await site.ask("GET", f"{ACCOUNT}/export?format=jsonl&provider_key=studio")
    assert [json.loads(line)["job_id"] for line in one.body.splitlines()] == ["r1"]
