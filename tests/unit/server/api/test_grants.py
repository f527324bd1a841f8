"""Grants over HTTP: shapes, guards, mistakes."""

from __future__ import annotations

from typing import Any

import pytest

from server.administration import audit
from server.store import StoreUnavailable
from server.store.dialect import EngineKind
from tests.testbed.books import Books
from tests.testbed.lost_commits import open_lossy_store
from tests.testbed.needs import absent
from tests.testbed.postgres_server import NoServer
from tests.unit.server.accounts.people import add_user
from tests.unit.server.api.reward_site import RewardSite


@pytest.fixture
async def site(books: Books) -> RewardSite:
    await add_user(books.store)
    return RewardSite(books)


async def test_a_credit_and_a_reward(site: RewardSite) -> None:
    body = {"email": "ada@example.com", "amount_usd": "1.15", "note": "thanks", "idempotency_key": "k1"}
    credit = await site.ask("POST", "/v1/admin/credit", body, by="admin")
    account = credit.json["account_id"]
    assert (credit.status, credit.json) == (
        200,
        {
            "ok": True,
            "account_id": account,
            "email": "ada@example.com",
            "credited_usd": 1.15,
            "withdrawable": False,
            "balance_after": 1.15,
        },
    )
    assert b'"credited_usd":1.15,' in credit.body
    again = await site.ask("POST", "/v1/admin/credit", body, by="admin")
    assert again.json == credit.json
    reward = await site.ask("POST", "/v1/admin/reward", {"account_id": account, "amount_usd": 2}, by="boss")
    assert reward.json == {
        "ok": True,
        "account_id": account,
        "email": "ada@example.com",
        "rewarded_usd": 2,
        "withdrawable": True,
        "balance_after": 3.15,
        "withdrawable_after": 2,
    }


@pytest.mark.parametrize(
    ("change", "status", "kind"),
    [
        ({"email": "nobody@example.com"}, 404, "not_found"),
        ({"email": None}, 400, "invalid_request_error"),
        ({"account_id": "both"}, 400, "invalid_request_error"),
        ({"amount_usd": 0}, 400, "invalid_request_error"),
        ({"amount_usd": "-1"}, 400, "invalid_request_error"),
        ({"amount_usd": "abc"}, 400, "invalid_request_error"),
        ({"amount_usd": "1e9"}, 400, "invalid_request_error"),
        ({"note": 5}, 400, "invalid_request_error"),
        ({"idempotency_key": "k" * 129}, 400, "invalid_request_error"),
        ({"idempotency_key": "used"}, 409, "conflict"),
    ],
    ids=str,
)
async def test_grants_that_are_refused(site: RewardSite, change: dict[str, object], status: int, kind: str) -> None:
    body: dict[str, object] = {"email": "ada@example.com", "amount_usd": 1}
    await site.ask("POST", "/v1/admin/credit", body | {"amount_usd": 7, "idempotency_key": "used"}, by="admin")
    for path in ("/v1/admin/credit", "/v1/admin/reward"):
        assert (await site.ask("POST", path, body | change, by="admin")).error[:2] == (status, kind)
    assert len(await site.books.rows("SELECT id FROM ledger_txns")) == 1


async def test_roles_and_fees(site: RewardSite) -> None:
    role = await site.ask("PUT", "/v1/admin/users/role", {"email": "ada@example.com", "role": "service"}, by="admin")
    assert role.json == {
        "ok": True,
        "account_id": role.json["account_id"],
        "email": "ada@example.com",
        "role": "service",
    }
    for percent in (0, 100, 7, None):
        body = {"account_id": role.json["account_id"], "fee_percent": percent}
        fee = await site.ask("PUT", "/v1/admin/users/platform-fee", body, by="admin")
        assert (fee.status, fee.json["fee_percent"]) == (200, percent)
        (row,) = await site.books.rows("SELECT role, platform_fee_percent FROM users")
        assert row == {"role": "service", "platform_fee_percent": percent}


async def acts(site: RewardSite) -> list[tuple[Any, ...]]:
    """The rows of the audit, oldest first."""
    rows = await site.books.store.read(lambda tx: audit.newest(tx, 100))
    return [(row.actor, row.action, row.target, row.before, row.after) for row in reversed(rows)]


async def test_every_act_leaves_its_row_of_the_audit(site: RewardSite) -> None:
    body = {"email": "ada@example.com", "amount_usd": "1.15", "note": "thanks", "idempotency_key": "k1"}
    for _ in range(2):
        given = await site.ask("POST", "/v1/admin/credit", body, by="admin")
    ada = given.json["account_id"]
    await site.ask("POST", "/v1/admin/reward", {"account_id": ada, "amount_usd": 2}, by="boss")
    await site.ask("PUT", "/v1/admin/users/role", {"account_id": ada, "role": "service"}, by="boss")
    await site.ask("PUT", "/v1/admin/users/platform-fee", {"account_id": ada, "fee_percent": 7}, by="admin")
    assert await acts(site) == [
        ("admin_key", "credit", ada, {}, {"amount_micro_usd": 1_150_000, "reason": "thanks"}),
        ("boss", "reward", ada, {}, {"amount_micro_usd": 2_000_000, "reason": ""}),
        ("boss", "account.role", ada, {"role": ""}, {"role": "service"}),
        ("admin_key", "account.fee", ada, {"fee_percent": None}, {"fee_percent": 7}),
    ]


async def test_what_is_refused_leaves_no_row(site: RewardSite) -> None:
    nobody = {"email": "nobody@example.com", "amount_usd": 1, "role": "service", "fee_percent": 1}
    for method, path in (("POST", "credit"), ("POST", "reward"), ("PUT", "users/role"), ("PUT", "users/platform-fee")):
        assert (await site.ask(method, f"/v1/admin/{path}", nobody, by="admin")).status == 404
    assert await acts(site) == []


async def test_a_grant_without_its_row_is_none(site: RewardSite, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_args: object, **_facts: object) -> None:
        raise StoreUnavailable("The database went away.")

    monkeypatch.setattr(audit, "note", fail)
    answer = await site.ask("POST", "/v1/admin/credit", {"email": "ada@example.com", "amount_usd": 1}, by="admin")
    assert answer.status == 503
    assert await site.books.rows("SELECT id FROM ledger_txns") == []


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_lost_commit_grants_and_notes_once(kind: EngineKind) -> None:
    try:
        async with open_lossy_store(kind) as (store, losses):
            ada = (await add_user(store)).account_id
            site = RewardSite(Books(store))
            losses.of, losses.pending = "INSERT INTO ledger_txns", 1
            given = await site.ask("POST", "/v1/admin/credit", {"account_id": ada, "amount_usd": 1}, by="admin")
            assert (given.status, given.json["balance_after"], losses.pending) == (200, 1, 0)
            assert await acts(site) == [("admin_key", "credit", ada, {}, {"amount_micro_usd": 1_000_000, "reason": ""})]
    except NoServer as problem:
        absent(problem)


async def test_roles_and_fees_reach_the_caches(site: RewardSite) -> None:
    heard: list[str] = []
    site.changes.listen("account", heard.append)
    ada = (
        await site.ask("PUT", "/v1/admin/users/role", {"email": "ada@example.com", "role": "service"}, by="admin")
    ).json["account_id"]
    assert heard == [ada]
    await site.ask("PUT", "/v1/admin/users/platform-fee", {"account_id": ada, "fee_percent": 7}, by="admin")
    assert heard == [ada, ada]


async def test_a_fee_of_ones_own(site: RewardSite) -> None:
    path, books = "/v1/admin/users/platform-fee", site.books
    set_to = await site.ask("PUT", path, {"email": "ada@example.com", "fee_percent": 10}, by="admin")
    await books.grant("cara", credit=1_000)
    await books.hold("r1", "cara", 1_000)
    settled = await books.settle("r1", "cara", 1_000, owner=set_to.json["account_id"])
    assert settled.payout == 900


async def test_a_login_that_looks_like_an_address_is_nobodys_address(site: RewardSite) -> None:
    await add_user(site.books.store, "eve@example.com", email="eve@example.com", local=True)
    for path, change in (("role", {"role": "service"}), ("platform-fee", {"fee_percent": 1})):
        answer = await site.ask("PUT", f"/v1/admin/users/{path}", {"email": "eve@example.com"} | change, by="admin")
        assert answer.error[:2] == (404, "not_found")


@pytest.mark.parametrize("role", [None, "admin", 1])
async def test_other_roles_are_refused(site: RewardSite, role: object) -> None:
    answer = await site.ask("PUT", "/v1/admin/users/role", {"email": "ada@example.com", "role": role}, by="admin")
    assert answer.error == (400, "invalid_request_error", "role")


@pytest.mark.parametrize(
    "body", [{}, {"fee_percent": 101}, {"fee_percent": -1}, {"fee_percent": 1.5}, {"fee_percent": True}]
)
async def test_other_fees_are_refused(site: RewardSite, body: dict[str, object]) -> None:
    answer = await site.ask("PUT", "/v1/admin/users/platform-fee", {"email": "ada@example.com", **body}, by="admin")
    assert answer.error == (400, "invalid_request_error", "fee_percent")


async def test_only_administrators_grant(site: RewardSite) -> None:
    paths = [("POST", "credit"), ("POST", "reward"), ("PUT", "users/role"), ("PUT", "users/platform-fee")]
    for method, path in paths:
        for by, status in (("", 401), ("key:ann", 403), ("session:ann", 403), ("key:boss", 403)):
            assert (await site.ask(method, f"/v1/admin/{path}", {}, by=by)).status == status
