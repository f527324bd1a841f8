"""Operators over HTTP: accounts, keys, prices and the audit; who may, what it does, what it leaves behind."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from server.administration.accounts import AccountActs
from server.administration.operator import Operator
from server.api.account_endpoints import account_blueprints
from server.api.admin_endpoints import admin_blueprints
from server.api.pricing import FRESH_SECONDS
from server.billing.ledger import GRANTS, Entry, post
from server.billing.price_book import PriceBook
from server.billing.prices import Tariff
from server.config import CoordinatorSettings
from server.observe import Metrics
from server.serve.app import build_app
from server.serve.drain import Drain
from server.store import Store
from tests.unit.server.api.account_site import ADMIN_KEY, LISTED_KEY, AccountSite, open_site

SETTINGS = CoordinatorSettings()


class AdminSite:
    """The accounts' site with the operators' endpoints on top."""

    def __init__(self, site: AccountSite) -> None:
        self.site = site
        times = site.times
        self.operator = Operator(site.store, changes=site.accounts.changes, wall_clock=times.wall_clock)
        self.book = PriceBook(
            site.store, Tariff(), wall_clock=times.wall_clock, is_known_model=lambda name: name.startswith("known/")
        )
        blueprints = [
            *account_blueprints(site.accounts, settings=SETTINGS, wall_clock=times.wall_clock),
            *admin_blueprints(
                site.accounts,
                store=site.store,
                book=self.book,
                settings=SETTINGS,
                clock=times.clock,
                wall_clock=times.wall_clock,
            ),
        ]
        app = build_app(SETTINGS, metrics=Metrics(), drain=Drain(), blueprints=blueprints)
        site.client = app.test_client(use_cookies=False)
        self.ask = site.ask

    async def acts(self) -> list[tuple[str, str, str]]:
        """Actor, action and target, oldest first."""
        found = (await self.ask("GET", "/v1/admin/audit", token=ADMIN_KEY)).json["acts"]
        return [(act["actor"], act["action"], act["target"]) for act in reversed(found)]


@asynccontextmanager
async def open_admin_site(store: Store, **changes: Any) -> AsyncGenerator[AdminSite]:
    async with open_site(store, financial_rate_limit_rps=0, **changes) as site:
        yield AdminSite(site)


ROUTES = [
    ("GET", "/v1/admin/users"),
    ("GET", "/v1/admin/users/ada@example.com"),
    ("POST", "/v1/admin/users/ada@example.com/migrate"),
    ("POST", "/v1/admin/users/nobody/suspend"),
    ("POST", "/v1/admin/users/nobody/resume"),
    ("GET", "/v1/admin/keys"),
    ("POST", "/v1/admin/keys"),
    ("PATCH", "/v1/admin/keys/key_" + "0" * 24),
    ("DELETE", "/v1/admin/keys/key_" + "0" * 24),
    ("GET", "/v1/admin/audit"),
    ("GET", "/v1/admin/payouts"),
    ("POST", "/v1/admin/payouts/release"),
    ("POST", "/v1/admin/payouts/00000000-0000-0000-0000-000000000000/decide"),
    ("PUT", "/v1/admin/pricing"),
    ("DELETE", "/v1/admin/pricing"),
]


async def test_administrators_alone_pass(store: Store) -> None:
    async with open_admin_site(store) as admin:
        key_of_admin = (await admin.ask("POST", "/v1/keys", token=admin.site.ada)).json["key"]
        for method, path in ROUTES:
            assert (await admin.ask(method, path)).status == 401, path
            for token in (admin.site.eve, key_of_admin, LISTED_KEY):
                assert (await admin.ask(method, path, token=token)).is_error(403, "forbidden"), path
            for token in (admin.site.ada, ADMIN_KEY):
                assert (await admin.ask(method, path, {}, token=token)).status in (200, 400, 404), path


async def test_accounts_are_found_by_any_name(store: Store) -> None:
    async with open_admin_site(store) as admin:
        for token in (admin.site.ada, admin.site.eve):
            assert (await admin.ask("GET", "/v1/keys", token=token)).status == 200
        everybody = (await admin.ask("GET", "/v1/admin/users", token=ADMIN_KEY)).json["users"]
        assert {one["email"] for one in everybody} == {"ada@example.com", "eve@example.com"}
        (eve,) = (await admin.ask("GET", "/v1/admin/users?q=EVE@", token=ADMIN_KEY)).json["users"]
        assert (eve["email"], eve["email_verified"], eve["balance_usd"]) == ("eve@example.com", True, "0.000000")
        assert (await admin.ask("GET", "/v1/admin/users?q=%25", token=ADMIN_KEY)).json["users"] == []
        for name in (eve["account_id"], "did:privy:eve", "Eve@Example.com"):
            assert (await admin.ask("GET", f"/v1/admin/users/{name}", token=ADMIN_KEY)).json == eve
        assert (await admin.ask("GET", "/v1/admin/users/nobody", token=ADMIN_KEY)).is_error(404, "not_found")


async def test_a_revoked_key_is_dead_at_once_and_the_act_is_noted(store: Store) -> None:
    async with open_admin_site(store) as admin:
        made = (await admin.ask("POST", "/v1/keys", {"name": "n"}, token=admin.site.eve)).json
        secret, key_id = made["key"], made["data"]["id"]
        assert (await admin.ask("GET", "/v1/key", token=secret)).status == 200
        (listed,) = (await admin.ask("GET", "/v1/admin/keys?account=eve@example.com", token=ADMIN_KEY)).json["data"]
        assert (listed["id"], listed["state"], secret in str(listed)) == (key_id, "live", False)
        gone = await admin.ask("DELETE", f"/v1/admin/keys/{key_id}", token=admin.site.ada)
        assert gone.json == {"status": "revoked", "id": key_id, "account_id": listed["account_id"]}
        assert (await admin.ask("GET", "/v1/key", token=secret)).is_error(401, "key_revoked")
        assert (await admin.ask("DELETE", f"/v1/admin/keys/{key_id}", token=ADMIN_KEY)).is_error(404, "not_found")
        assert (await admin.ask("GET", "/v1/admin/keys", token=ADMIN_KEY)).json["data"] == []
        (all_keys,) = (await admin.ask("GET", "/v1/admin/keys?revoked=1", token=ADMIN_KEY)).json["data"]
        assert all_keys["state"] == "revoked"
        ada = (await admin.ask("GET", "/v1/admin/users/ada@example.com", token=ADMIN_KEY)).json["account_id"]
        assert await admin.acts() == [(ada, "key.revoke", key_id)]


async def test_a_key_is_switched_off_and_on_by_its_label(store: Store) -> None:
    async with open_admin_site(store) as admin:
        made = (await admin.ask("POST", "/v1/keys", token=admin.site.eve)).json
        secret, key_id, label = made["key"], made["data"]["id"], made["data"]["label"]
        assert (await admin.ask("GET", "/v1/key", token=secret)).status == 200
        off = await admin.ask("PATCH", f"/v1/admin/keys/{label}", {"disabled": True}, token=ADMIN_KEY)
        assert (off.json["id"], off.json["state"]) == (key_id, "disabled")
        assert (await admin.ask("GET", "/v1/key", token=secret)).is_error(401, "key_disabled")
        on = await admin.ask("PATCH", f"/v1/admin/keys/{key_id}", {"disabled": False}, token=ADMIN_KEY)
        assert on.json["state"] == "live"
        assert (await admin.ask("GET", "/v1/key", token=secret)).status == 200
        wrong = await admin.ask("PATCH", f"/v1/admin/keys/{key_id}", {"disabled": 1}, token=ADMIN_KEY)
        assert wrong.is_error(400, "bad_request")
        assert await admin.acts() == [("admin_key", "key.disable", key_id), ("admin_key", "key.enable", key_id)]


async def test_a_key_is_made_for_somebody(store: Store) -> None:
    async with open_admin_site(store) as admin:
        await admin.ask("GET", "/v1/keys", token=admin.site.eve)
        body = {"account_id": "eve@example.com", "name": "gift", "limit_usd": "2.50"}
        made = (await admin.ask("POST", "/v1/admin/keys", body, token=ADMIN_KEY)).json
        own = (await admin.ask("GET", "/v1/key", token=made["key"])).json
        assert (own["id"], own["name"], own["limit_usd"]) == (made["id"], "gift", 2.5)
        late = {"account_id": "eve@example.com", "expires_at": "2001-01-01T00:00:00Z"}
        assert (await admin.ask("POST", "/v1/admin/keys", late, token=ADMIN_KEY)).is_error(400, "bad_request")
        (act,) = (await admin.ask("GET", "/v1/admin/audit", token=ADMIN_KEY)).json["acts"]
        assert (act["action"], act["after"]["name"], made["key"] in str(act)) == ("key.create", "gift", False)


async def test_role_fee_and_mark_are_noted_with_what_was_before(store: Store) -> None:
    async with open_admin_site(store) as admin:
        await admin.ask("GET", "/v1/keys", token=admin.site.eve)
        acts = AccountActs(admin.operator)
        assert (await acts.set_role("me", "eve@example.com", "service")).role == "service"
        assert (await acts.set_fee("me", "eve@example.com", 7)).fee_percent == 7
        assert (await acts.set_fee("me", "eve@example.com", None)).fee_percent is None
        assert (await acts.set_admin("me", "eve@example.com", True)).is_admin
        assert (await admin.ask("GET", "/v1/admin/audit", token=admin.site.eve)).status == 200
        found = (await admin.ask("GET", "/v1/admin/audit?limit=4", token=ADMIN_KEY)).json["acts"]
        assert [(act["action"], act["before"], act["after"]) for act in reversed(found)] == [
            ("account.role", {"role": ""}, {"role": "service"}),
            ("account.fee", {"fee_percent": None}, {"fee_percent": 7}),
            ("account.fee", {"fee_percent": 7}, {"fee_percent": None}),
            ("account.admin", {"is_admin": False}, {"is_admin": True}),
        ]


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "limit=-1", "limit="])
async def test_a_bad_limit_is_refused(store: Store, query: str) -> None:
    async with open_admin_site(store) as admin:
        answer = await admin.ask("GET", f"/v1/admin/users?{query}", token=ADMIN_KEY)
        assert answer.is_error(400, "invalid_request_error")


PRICE = {"model": "known/a", "input_price": 30_000, "output_price": 165_000}


async def test_the_price_list_is_public_and_follows_at_once(store: Store) -> None:
    async with open_admin_site(store) as admin:
        empty = await admin.ask("GET", "/v1/pricing")
        assert empty.json == {
            "prices": [],
            "fallback_input_price": 50_000,
            "fallback_output_price": 200_000,
            "fallback_input_usd": "$0.0500",
            "fallback_output_usd": "$0.2000",
        }
        assert empty.headers["cache-control"] == f"public, max-age={int(FRESH_SECONDS)}"
        done = await admin.ask("PUT", "/v1/admin/pricing", PRICE, token=ADMIN_KEY)
        assert done.json == {
            "status": "platform_default_updated",
            **PRICE,
            "input_usd": "$0.0300 per 1M tokens",
            "output_usd": "$0.1650 per 1M tokens",
        }
        assert (await admin.ask("GET", "/v1/pricing")).json["prices"] == [
            {
                **PRICE,
                "cache_read_price": 15_000,
                "input_usd": "$0.0300",
                "output_usd": "$0.1650",
                "cache_read_usd": "$0.0150",
            }
        ]
        assert await admin.book.price("known/a") == (30_000, 165_000, None)
        gone = await admin.ask("DELETE", "/v1/admin/pricing", {"model": "known/a"}, token=ADMIN_KEY)
        assert gone.json == {"status": "platform_default_deleted", "model": "known/a"}
        assert (await admin.ask("GET", "/v1/pricing")).json["prices"] == []
        again = await admin.ask("DELETE", "/v1/admin/pricing", {"model": "known/a"}, token=ADMIN_KEY)
        assert again.is_error(404, "not_found")
        assert await admin.acts() == [
            ("admin_key", "price.set", "known/a"),
            ("admin_key", "price.delete", "known/a"),
        ]


async def test_many_readers_ask_the_database_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_admin_site(store) as admin:
        asked = []
        real = admin.book.listing

        async def counted() -> object:
            asked.append(1)
            return await real()

        monkeypatch.setattr(admin.book, "listing", counted)
        for _ in range(5):
            assert (await admin.ask("GET", "/v1/pricing")).status == 200
        assert len(asked) == 1
        admin.site.times.go(FRESH_SECONDS)
        await admin.ask("GET", "/v1/pricing")
        assert len(asked) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"model": ""},
        {"input_price": 0},
        {"output_price": -1},
        {"input_price": "30000"},
        {"input_price": 1.5},
        {"input_price": True},
        {"output_price": None},
        {"cache_read_price": 30_001},
        {"cache_read_price": -1},
        {"input_price": 10**13},
        {"input_price": 10**30},
    ],
)
async def test_an_impossible_price_is_refused(store: Store, change: dict[str, object]) -> None:
    async with open_admin_site(store) as admin:
        answer = await admin.ask("PUT", "/v1/admin/pricing", {**PRICE, **change}, token=ADMIN_KEY)
        assert answer.status == 400
        assert await admin.acts() == []


async def test_owners_price_their_machines_within_bounds(store: Store) -> None:
    async with open_admin_site(store) as admin:
        eve = admin.site.eve
        done = await admin.ask("PUT", "/v1/pricing", {**PRICE, "cache_read_price": 1}, token=eve)
        assert (done.json["status"], done.json["cache_read_price"]) == ("updated", 1)
        assert (await admin.ask("GET", "/v1/pricing")).json["prices"] == []
        dear = await admin.ask("PUT", "/v1/pricing", {**PRICE, "output_price": 1_000_001}, token=eve)
        assert dear.is_error(400, "invalid_request_error")
        unknown = await admin.ask("PUT", "/v1/pricing", {**PRICE, "model": "other"}, token=eve)
        assert unknown.is_error(400, "invalid_request_error")
        assert (await admin.ask("PUT", "/v1/pricing", PRICE, token=ADMIN_KEY)).is_error(401, "auth_error")
        assert (await admin.ask("PUT", "/v1/pricing", PRICE)).status == 401
        gone = await admin.ask("DELETE", "/v1/pricing", {"model": "known/a"}, token=eve)
        assert gone.json == {"status": "deleted", "model": "known/a"}
        again = await admin.ask("DELETE", "/v1/pricing", {"model": "known/a"}, token=eve)
        assert again.is_error(404, "not_found")


async def test_payouts_are_reviewed_and_decided(store: Store) -> None:
    async with open_admin_site(store) as admin:
        assert (await admin.ask("GET", "/v1/admin/payouts", token=ADMIN_KEY)).json == {"reviews": [], "withdrawals": []}
        mail = "ada@example.com"
        answer = await admin.ask("POST", "/v1/admin/payouts/release", {"account_id": mail}, token=ADMIN_KEY)
        assert (answer.status, answer.json["error"]["type"]) == (404, "not_found")
        path = "/v1/admin/payouts/00000000-0000-0000-0000-000000000000/decide"
        for body, status in (
            ({}, 400),
            ({"found": "maybe"}, 400),
            ({"found": "sent"}, 400),
            ({"found": "sent", "transfer_id": "po_1"}, 400),
            ({"found": "sent", "transfer_id": "tr_1"}, 404),
            ({"found": "not_sent"}, 404),
            ({"found": "paid"}, 404),
        ):
            assert (await admin.ask("POST", path, body, token=ADMIN_KEY)).status == status, body


async def test_money_is_moved_from_one_account_to_another(store: Store) -> None:
    async with open_admin_site(store) as admin:
        for person in (admin.site.ada, admin.site.eve):
            await admin.ask("GET", "/v1/keys", token=person)
        found = (await admin.ask("GET", "/v1/admin/users", token=ADMIN_KEY)).json["users"]
        users = {one["email"]: one for one in found}
        eve, ada = users["eve@example.com"]["account_id"], users["ada@example.com"]["account_id"]
        entries = [Entry(GRANTS, "admin_credit", -5), Entry(eve, "admin_credit", 5)]
        await store.write(lambda tx: post(tx, "admin", "seed", entries, 1))
        path = "/v1/admin/users/eve@example.com/migrate"
        moved = await admin.ask("POST", path, {"to": "ada@example.com"}, token=ADMIN_KEY)
        assert moved.json == {
            "from": eve, "to": ada, "amount_micro_usd": 5, "withdrawable_micro_usd": 0, "key_id": None,
        }  # fmt: skip
        admin.site.times.go(1)
        assert (await admin.ask("POST", path, {"to": ada}, token=ADMIN_KEY)).is_error(409, "conflict")
        for body, status in (({}, 400), ({"to": "nobody"}, 404), ({"to": eve}, 400)):
            assert (await admin.ask("POST", path, body, token=ADMIN_KEY)).status == status, body
        assert ("admin_key", "account.migrate", eve) in await admin.acts()
