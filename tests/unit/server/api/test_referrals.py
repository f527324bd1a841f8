"""Referrals over HTTP: shapes, guards, limits, mistakes."""

from __future__ import annotations

import pytest

from server.limits import Rate
from tests.testbed.books import Books
from tests.unit.server.api.reward_site import RewardSite


@pytest.fixture
def site(books: Books) -> RewardSite:
    return RewardSite(books)


@pytest.mark.parametrize("by", ["key:ann", "session:ann"])
async def test_registering_and_applying(site: RewardSite, by: str) -> None:
    answer = await site.ask("POST", "/v1/referral/register", {"code": " annie "}, by=by)
    assert answer.status == 200
    assert set(answer.json) == {"code", "share_percent", "message"}
    assert (answer.json["code"], answer.json["share_percent"]) == ("ANNIE", 20)
    again = await site.ask("POST", "/v1/referral/register", {"code": "other"}, by=by)
    assert (again.status, again.json["code"]) == (200, "ANNIE")
    for _ in range(2):
        applied = await site.ask("POST", "/v1/referral/apply", {"code": "annie"}, by="key:cara")
        assert applied.status == 200
        assert set(applied.json) == {"status", "code", "message"}
        assert (applied.json["status"], applied.json["code"]) == ("applied", "ANNIE")
    stats = await site.ask("GET", "/v1/referral/stats", by=by)
    assert stats.json == {
        "code": "ANNIE",
        "share_percent": 20,
        "total_referred": 1,
        "total_rewards_micro_usd": 0,
        "total_rewards_usd": "0.000000",
        "balance_micro_usd": 0,
        "balance_usd": "0.000000",
    }
    info = await site.ask("GET", "/v1/referral/info", by="key:cara")
    assert info.json == {"code": "", "share_percent": 20, "referred_by": "ANNIE"}


@pytest.mark.parametrize("body", [{}, {"code": ""}, {"code": 7}, {"code": "-x-"}, {"code": "TAKEN"}, {"code": "ÄÖÜ"}])
async def test_codes_that_cannot_be_registered(site: RewardSite, body: dict[str, object]) -> None:
    await site.ask("POST", "/v1/referral/register", {"code": "taken"}, by="key:bob")
    answer = await site.ask("POST", "/v1/referral/register", body)
    assert answer.error == (400, "referral_error", "code")


async def test_codes_that_cannot_be_applied(site: RewardSite) -> None:
    for name in ("ann", "bob"):
        await site.ask("POST", "/v1/referral/register", {"code": name}, by=f"key:{name}")
    await site.ask("POST", "/v1/referral/apply", {"code": "ann"}, by="key:cara")
    for by, code in (("key:cara", "bob"), ("key:ann", "ann"), ("key:dora", "nobody"), ("key:dora", "?")):
        assert (await site.ask("POST", "/v1/referral/apply", {"code": code}, by=by)).error == (
            400,
            "referral_error",
            "code",
        )


async def test_guards(site: RewardSite) -> None:
    for path in ("/v1/referral/register", "/v1/referral/apply"):
        for by, status, kind in (
            ("", 401, "authentication_error"),
            ("admin", 401, "auth_error"),
            ("ownerless:x", 401, "auth_error"),
        ):
            answer = await site.ask("POST", path, {"code": "abc"}, by=by)
            assert answer.error[:2] == (status, kind)
    for path in ("/v1/referral/stats", "/v1/referral/info"):
        assert (await site.ask("GET", path, by="")).status == 401
        assert (await site.ask("GET", path, by="ownerless:x")).error[:2] == (404, "referral_error")


async def test_the_financial_limit_counts(books: Books) -> None:
    site = RewardSite(books, financial=Rate(0.2, 3))
    answers = [await site.ask("POST", "/v1/referral/apply", {"code": "abc"}) for _ in range(4)]
    assert [answer.status for answer in answers] == [400, 400, 400, 429]
    assert answers[-1].headers["retry-after"] == "5"


async def test_without_referrals_there_is_nothing(books: Books) -> None:
    site = RewardSite(books, referrals=False)
    for method, path in (("POST", "register"), ("POST", "apply"), ("GET", "stats"), ("GET", "info")):
        answer = await site.ask(method, f"/v1/referral/{path}", {"code": "abc"} if method == "POST" else None)
        assert answer.error[:2] == (503, "billing_error")


async def test_a_database_that_is_away(site: RewardSite) -> None:
    site.store.down = True
    for method, path in (("POST", "register"), ("POST", "apply"), ("GET", "stats")):
        answer = await site.ask(method, f"/v1/referral/{path}", {"code": "abc"} if method == "POST" else None)
        assert answer.error[:2] == (503, "service_unavailable")
        assert answer.headers["retry-after"] == "2"
