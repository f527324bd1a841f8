"""Invites over HTTP: shapes, guards, limits, mistakes."""

from __future__ import annotations

import re

import pytest

from server.administration import audit
from server.limits import Rate
from tests.testbed.books import Books
from tests.unit.server.api.reward_site import RewardSite

CODES = "/v1/admin/invite-codes"
REDEEM = "/v1/invite/redeem"


@pytest.fixture
def site(books: Books) -> RewardSite:
    return RewardSite(books)


@pytest.mark.parametrize("by", ["admin", "boss"])
async def test_an_invite_from_its_making_to_its_end(site: RewardSite, by: str) -> None:
    made = await site.ask("POST", CODES, {"amount_usd": 5}, by=by)
    assert made.status == 201
    code = made.json["code"]
    assert re.fullmatch(r"INV-[A-Z2-7]{16}", code)
    assert made.json == {"code": code, "amount_usd": "5.00", "max_uses": 1, "expires_at": None}
    redeemed = await site.ask("POST", REDEEM, {"code": code.lower()})
    assert (redeemed.status, redeemed.json) == (200, {"credited_usd": "5.00", "balance_usd": "5.000000"})
    listed = (await site.ask("GET", CODES, by=by)).json
    assert listed == {
        "invite_codes": [
            {
                "code": code,
                "amount_usd": "5.00",
                "max_uses": 1,
                "used_count": 1,
                "active": True,
                "expires_at": None,
                "created_at": "2026-07-15T10:00:00Z",
            }
        ]
    }
    gone = await site.ask("DELETE", CODES, {"code": code}, by=by)
    assert (gone.status, gone.json) == (200, {"status": "deactivated"})
    assert (await site.ask("GET", CODES, by=by)).json["invite_codes"][0]["active"] is False


async def test_everything_about_an_invite_can_be_chosen(site: RewardSite) -> None:
    body = {"amount_usd": "1.50", "code": "summer", "max_uses": 3, "expires_at": "2030-01-01T00:00:00Z"}
    made = await site.ask("POST", CODES, body, by="admin")
    assert made.json == {
        "code": "SUMMER",
        "amount_usd": "1.50",
        "max_uses": 3,
        "expires_at": "2030-01-01T00:00:00Z",
    }
    assert (await site.ask("POST", CODES, body, by="admin")).error == (409, "conflict", "code")
    plain = await site.ask("POST", CODES, {"amount_usd": 1, "code": "", "max_uses": 0, "expires_at": ""}, by="admin")
    assert (plain.status, plain.json["max_uses"]) == (201, 1)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"amount_usd": 0}, "amount_usd"),
        ({"amount_usd": -1}, "amount_usd"),
        ({"amount_usd": "1.005"}, "amount_usd"),
        ({"amount_usd": None}, "amount_usd"),
        ({"amount_usd": True}, "amount_usd"),
        ({"code": 5}, "code"),
        ({"code": "-x-"}, ""),
        ({"max_uses": -1}, "max_uses"),
        ({"max_uses": 1.5}, "max_uses"),
        ({"max_uses": True}, "max_uses"),
        ({"max_uses": 10**7}, "max_uses"),
        ({"expires_at": "soon"}, "expires_at"),
        ({"expires_at": 5}, "expires_at"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, ""),
    ],
    ids=str,
)
async def test_invites_that_cannot_be_made(site: RewardSite, change: dict[str, object], param: str) -> None:
    answer = await site.ask("POST", CODES, {"amount_usd": 1} | change, by="admin")
    assert answer.error == (400, "invalid_request_error", param)
    assert (await site.ask("GET", CODES, by="admin")).json == {"invite_codes": []}


async def test_codes_are_made_and_switched_off_on_record(site: RewardSite) -> None:
    body = {"amount_usd": "1.50", "code": "summer", "max_uses": 3, "expires_at": "2030-01-01T00:00:00Z"}
    for status in (201, 409):
        assert (await site.ask("POST", CODES, body, by="boss")).status == status
    for code, status in (("Summer", 200), ("none", 404)):
        assert (await site.ask("DELETE", CODES, {"code": code}, by="admin")).status == status
    made, off = reversed(await site.books.store.read(lambda tx: audit.newest(tx, 100)))
    assert (made.actor, made.action, made.target) == ("boss", "invite.create", "SUMMER")
    assert made.after == {"amount_micro_usd": 1_500_000, "max_uses": 3, "expires_at": 1_893_456_000_000_000}
    assert (off.actor, off.action, off.target) == ("admin_key", "invite.deactivate", "SUMMER")
    assert off.after == {"active": False}


async def test_codes_that_cannot_be_redeemed(site: RewardSite) -> None:
    for code in ("one", "off"):
        await site.ask("POST", CODES, {"amount_usd": 1, "code": code}, by="admin")
    await site.ask("DELETE", CODES, {"code": "off"}, by="admin")
    soon = {"amount_usd": 1, "code": "old", "expires_at": "2026-07-15T10:00:01Z"}
    await site.ask("POST", CODES, soon, by="admin")
    site.books.now += 1_000_000
    assert (await site.ask("POST", REDEEM, {"code": "one"}, by="key:bob")).status == 200
    texts = {}
    for code, status in (("one", 400), ("off", 400), ("old", 400), ("none", 404), ("", 400)):
        answer = await site.ask("POST", REDEEM, {"code": code})
        assert answer.error[0] == status
        texts[code] = answer.json["error"]["message"]
    assert (await site.ask("POST", REDEEM, {"code": "one"}, by="key:bob")).status == 400
    assert len(set(texts.values())) == 5
    assert (await site.books.balance("ann")).balance == 0


async def test_guards(site: RewardSite) -> None:
    for method in ("POST", "GET", "DELETE"):
        for by, status in (("", 401), ("key:ann", 403), ("session:ann", 403), ("key:boss", 403)):
            assert (await site.ask(method, CODES, {"amount_usd": 1}, by=by)).status == status
    assert (await site.ask("POST", REDEEM, {"code": "x"}, by="")).status == 401
    assert (await site.ask("POST", REDEEM, {"code": "x"}, by="admin")).error[:2] == (403, "forbidden")
    assert (await site.ask("DELETE", CODES, {"code": "none"}, by="admin")).error == (404, "not_found", "code")


async def test_an_account_without_a_user_redeems_too(site: RewardSite) -> None:
    await site.ask("POST", CODES, {"amount_usd": 1, "code": "one"}, by="admin")
    assert (await site.ask("POST", REDEEM, {"code": "one"}, by="ownerless:legacy:ab")).status == 200
    assert (await site.books.balance("legacy:ab")).balance == 1_000_000


async def test_the_financial_limit_keeps_people_from_trying(books: Books) -> None:
    site = RewardSite(books, financial=Rate(0.2, 3))
    answers = [await site.ask("POST", REDEEM, {"code": "guess"}) for _ in range(4)]
    assert [answer.status for answer in answers] == [404, 404, 404, 429]
    made = [(await site.ask("POST", CODES, {"amount_usd": 1}, by="boss")).status for _ in range(4)]
    assert made == [201, 201, 201, 429]
