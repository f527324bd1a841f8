"""Suspending an account over HTTP: what its owner sees in each way of coming in, and who may do it."""

from __future__ import annotations

from server.store import Store
from tests.testbed.store import open_test_store
from tests.unit.server.api.account_site import ADMIN_KEY, LISTED_KEY, PAGE
from tests.unit.server.api.test_admin_endpoints import AdminSite, open_admin_site

PASSWORD = "correct horse battery"


async def account_of(admin: AdminSite, token: str) -> str:
    await admin.ask("POST", "/v1/keys", token=token)
    (found,) = (await admin.ask("GET", "/v1/admin/users?q=eve@example.com", token=ADMIN_KEY)).json["users"]
    account_id: str = found["account_id"]
    return account_id


async def test_every_way_in_is_closed_and_opened_again(store: Store) -> None:
    async with open_admin_site(store) as admin:
        eve = admin.site.eve
        key = (await admin.ask("POST", "/v1/keys", token=eve)).json["key"]
        account_id = await account_of(admin, eve)
        cookies = {}
        for mode, body in (("privy", {"token": eve}), ("key", {"key": key})):
            opened = await admin.ask("POST", "/auth/session", {"mode": mode, **body}, headers=PAGE)
            assert opened.status == 204
            cookies[mode] = opened.cookie
        said = await admin.ask("POST", f"/v1/admin/users/{account_id}/suspend", {"reason": "spam"}, token=ADMIN_KEY)
        assert (said.status, said.json["suspended_reason"]) == (200, "spam")
        assert said.json["suspended_at"] is not None
        for token in (eve, key):
            refused = await admin.ask("GET", "/v1/key", token=token)
            assert refused.is_error(403, "account_suspended")
            assert refused.error["type"] == "forbidden"
            assert "spam" not in refused.error["message"]
        for mode, body in (("privy", {"token": eve}), ("key", {"key": key})):
            assert (await admin.ask("GET", "/v1/keys", cookie=cookies[mode], headers=PAGE)).is_error(
                403, "account_suspended"
            )
            shown = await admin.ask("GET", "/auth/session", cookie=cookies[mode], headers=PAGE)
            assert shown.json == {"authenticated": False}
            again = await admin.ask("POST", "/auth/session", {"mode": mode, **body}, headers=PAGE)
            assert again.is_error(403, "account_suspended")
        assert (await admin.ask("GET", "/v1/key", headers={"x-api-key": key})).is_error(403, "account_suspended")
        resumed = await admin.ask("POST", "/v1/admin/users/eve@example.com/resume", token=admin.site.ada)
        assert (resumed.status, resumed.json["suspended_at"]) == (200, None)
        assert (await admin.ask("GET", "/v1/key", token=key)).status == 200
        for mode in cookies:
            shown = await admin.ask("GET", "/auth/session", cookie=cookies[mode], headers=PAGE)
            assert shown.json["authenticated"] is True
        actions = [action for _, action, target in await admin.acts() if target == account_id]
        assert actions == ["account.suspend", "account.resume"]


async def test_a_password_does_not_let_a_suspended_account_in() -> None:
    async with open_test_store("sqlite") as store, open_admin_site(store, signup="open") as admin:
        name = {"login": "carl", "password": PASSWORD}
        assert (await admin.ask("POST", "/auth/signup", name, headers=PAGE)).status == 204
        await admin.ask("POST", "/v1/admin/users/carl/suspend", {"reason": "x"}, token=ADMIN_KEY)
        sign_in = {"mode": "local", **name}
        assert (await admin.ask("POST", "/auth/session", sign_in, headers=PAGE)).is_error(403, "account_suspended")
        wrong = await admin.ask("POST", "/auth/session", sign_in | {"password": "another one"}, headers=PAGE)
        assert wrong.is_error(401, "invalid_login")
        await admin.ask("POST", "/v1/admin/users/carl/resume", token=ADMIN_KEY)
        assert (await admin.ask("POST", "/auth/session", sign_in, headers=PAGE)).status == 204


async def test_administrators_alone_suspend_and_not_themselves() -> None:
    async with open_test_store("sqlite") as store, open_admin_site(store) as admin:
        account_id = await account_of(admin, admin.site.eve)
        for act in ("suspend", "resume"):
            path = f"/v1/admin/users/{account_id}/{act}"
            assert (await admin.ask("POST", path, {"reason": "x"})).status == 401
            for token in (admin.site.eve, LISTED_KEY):
                assert (await admin.ask("POST", path, {"reason": "x"}, token=token)).is_error(403, "forbidden")
            missing = await admin.ask("POST", f"/v1/admin/users/nobody/{act}", {"reason": "x"}, token=ADMIN_KEY)
            assert missing.is_error(404, "not_found")
        for body in ({}, {"reason": ""}, {"reason": 7}, {"reason": "x" * 501}):
            answer = await admin.ask("POST", f"/v1/admin/users/{account_id}/suspend", body, token=ADMIN_KEY)
            assert answer.status == 400, body
        own = await admin.ask("POST", "/v1/admin/users/ada@example.com/suspend", {"reason": "x"}, token=admin.site.ada)
        assert own.is_error(409, "conflict")
