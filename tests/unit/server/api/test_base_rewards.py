"""The administrators' view of base rewards."""

from __future__ import annotations

from server.rewards.allocation import Claim
from server.rewards.draws import Draw, record_draws
from server.rewards.epochs import Epoch
from server.rewards.policy import BaseRewardPolicy
from tests.testbed.books import Books
from tests.unit.server.api.reward_site import RewardSite

PATH = "/v1/admin/base-rewards"


def draw(key: str, amount: int) -> Draw:
    claim = Claim(provider_key=key, account_id="ann", memory_gb=64, floor=2_016, organic=5, draw=2_016)
    return Draw(claim=claim, provider_id="", uptime_ms=285_000, amount=amount)


async def test_what_an_epoch_was_spent_on(books: Books) -> None:
    site = RewardSite(books, policy=BaseRewardPolicy(reduction_thousandths=250))
    epoch = Epoch.parse("2026-07-15T09:55Z")
    await books.store.write(lambda tx: record_draws(tx, epoch, [draw("a", 2_016), draw("b", 0)], books.now))
    answer = await site.ask("GET", PATH, by="boss")
    shown = {
        "account_id": "ann",
        "floor_micro_usd": 2_016,
        "earned_micro_usd": 5,
        "uptime": 0.95,
        "memory_gb": 64,
        "created_at": "2026-07-15T10:00:00Z",
    }
    assert (answer.status, answer.json) == (
        200,
        {
            "enabled": True,
            "epoch_id": "2026-07-15T09:55Z",
            "pool_budget": 1_008_065,
            "pool_used": 2_016,
            "reduction_k": 0.25,
            "draw_count": 2,
            "draws": [
                {"provider_key": "a", "amount_micro_usd": 2_016, **shown},
                {"provider_key": "b", "amount_micro_usd": 0, **shown},
            ],
        },
    )
    other = await site.ask("GET", f"{PATH}?epoch=2026-06-01T00:00Z", by="admin")
    assert (other.json["draw_count"], other.json["draws"], other.json["pool_budget"]) == (0, [], 1_041_667)
    assert (await site.ask("GET", f"{PATH}?epoch=2026-06", by="admin")).error == (
        400,
        "invalid_request_error",
        "epoch",
    )


async def test_without_base_rewards(books: Books) -> None:
    site = RewardSite(books)
    assert (await site.ask("GET", PATH, by="admin")).json == {"enabled": False}


async def test_only_administrators_look(books: Books) -> None:
    site = RewardSite(books, policy=BaseRewardPolicy())
    assert [(await site.ask("GET", PATH, by=by)).status for by in ("", "key:ann", "session:ann", "key:boss")] == [
        401,
        403,
        403,
        403,
    ]
