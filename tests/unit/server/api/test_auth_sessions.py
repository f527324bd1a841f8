"""Browser sessions over HTTP: every way in, the cookie, what each session may do, and every way out."""

from __future__ import annotations

from server.store import Store
from tests.unit.server.api.account_site import ADMIN_KEY, LISTED_KEY, PAGE, AccountSite, Answer, open_site

GOOD = "correct horse battery"


async def post(site: AccountSite, path: str, body: object, cookie: str | None = None) -> Answer:
    return await site.ask("POST", path, body, headers=PAGE, cookie=cookie)


async def join(site: AccountSite, login: str = "ada") -> str:
    answer = await post(site, "/auth/signup", {"login": login, "password": GOOD})
    assert answer.status == 204, answer.body
    return answer.cookie


async def sign_in(site: AccountSite, login: str = "ada", password: str = GOOD, **more: str) -> Answer:
    return await post(site, "/auth/session", {"mode": "local", "login": login, "password": password}, **more)


async def test_sign_up_sign_in_and_out(store: Store) -> None:
    async with open_site(store, privy=False, signup="open") as site:
        await join(site)
        answer = await sign_in(site, "ADA ")
        assert (answer.status, answer.body) == (204, b"")
        assert answer.headers["cache-control"] == "private, no-store"
        shown = (await site.ask("GET", "/auth/session", cookie=answer.cookie)).json
        assert shown == {
            "authenticated": True,
            "account_id": shown["account_id"],
            "display": "ada",
            "mode": "local",
            "admin": False,
            "scopes": ["account", "inference", "balance", "usage"],
            "expires_at": "2026-06-11T20:26:40Z",
        }
        out = await site.ask("DELETE", "/auth/session", cookie=answer.cookie, headers=PAGE)
        assert out.status == 204
        assert out.headers["set-cookie"].startswith("db_sess=; Path=/; Max-Age=0; ")
        assert (await site.ask("GET", "/auth/session", cookie=answer.cookie)).json == {"authenticated": False}
        assert (await site.ask("GET", "/v1/keys", cookie=answer.cookie)).is_error(401, "session_expired")
        assert (await site.ask("DELETE", "/auth/session", headers=PAGE)).status == 204
        assert (await site.ask("GET", "/auth/session")).json == {"authenticated": False}


async def test_the_cookie_is_out_of_reach_of_scripts_and_secure_over_https(store: Store) -> None:
    async with open_site(store, privy=False, signup="open") as site:
        await join(site)
        body = {"mode": "local", "login": "ada", "password": GOOD}
        for scheme in ("http", "https"):
            answer = await site.ask("POST", "/auth/session", body, headers=PAGE, scheme=scheme)
            _value, *attributes = answer.headers["set-cookie"].split("; ")
            assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(attributes)
            assert ("Secure" in attributes) == (scheme == "https")


async def test_a_sign_in_replaces_the_session_of_the_browser(store: Store) -> None:
    async with open_site(store, privy=False, signup="open") as site:
        first = await join(site)
        second = (await sign_in(site, cookie=first)).cookie
        assert (await site.ask("GET", "/auth/session", cookie=first)).json == {"authenticated": False}
        assert (await site.ask("GET", "/auth/session", cookie=second)).json["authenticated"]


async def test_the_sixth_wrong_password_is_too_many(store: Store) -> None:
    async with open_site(store, privy=False, signup="open") as site:
        await join(site)
        for _ in range(5):
            answer = await sign_in(site, password="not the password")
            assert answer.is_error(401, "invalid_login")
        answer = await sign_in(site, password="not the password")
        assert answer.is_error(429, "rate_limit_exceeded")
        assert answer.error["message"] == "Too many attempts. Try again in 2 minutes."
        assert answer.headers["retry-after"] == "120"
        assert (await sign_in(site)).status == 429
        site.times.go(120)
        assert (await sign_in(site)).status == 204


async def test_spellings_of_one_name_are_counted_together(store: Store) -> None:
    async with open_site(store, privy=False, signup="open") as site:
        await join(site)
        for spelling in ("ada", "ADA", " Ada ", "\uff41da", "a\uff44a"):
            assert (await sign_in(site, spelling, "not the password")).is_error(401, "invalid_login")
        assert (await sign_in(site, "ad\uff41", "not the password")).status == 429


async def test_unknown_names_and_wrong_passwords_look_alike(store: Store) -> None:
    async with open_site(store, privy=False, signup="open") as site:
        await join(site)
        wrong, unknown = await sign_in(site, password="not the password"), await sign_in(site, "eve")
        assert (wrong.status, wrong.body) == (unknown.status, unknown.body)


async def test_successful_sign_ins_do_not_count(store: Store) -> None:
    async with open_site(store, privy=False, signup="open") as site:
        await join(site)
        for _ in range(8):
            assert (await sign_in(site)).status == 204


async def test_every_unsafe_request_must_come_from_our_page(store: Store) -> None:
    async with open_site(store, privy=False, signup="open") as site:
        cookie = await join(site)
        evil = {"X-CSRF": "1", "Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
        body = {"mode": "local", "login": "ada", "password": GOOD}
        for headers in ({}, {"X-CSRF": "1"}, {"Sec-Fetch-Site": "same-origin"}, evil):
            for method, path in (
                ("POST", "/auth/session"),
                ("DELETE", "/auth/session"),
                ("POST", "/auth/signup"),
            ):
                answer = await site.ask(method, path, body, headers=headers, cookie=cookie)
                assert answer.is_error(403, "csrf_failed")
                assert "set-cookie" not in answer.headers
        own = {"X-CSRF": "1", "Origin": "http://db.example", "Host": "db.example"}
        assert (await site.ask("POST", "/auth/session", body, headers=own)).status == 204


async def test_a_pasted_key_becomes_a_session_with_the_key_s_rights(store: Store) -> None:
    async with open_site(store) as site:
        made = (await site.ask("POST", "/v1/keys", token=site.ada)).json
        answer = await post(site, "/auth/session", {"mode": "key", "key": f" {made['key']} "})
        assert answer.status == 204
        shown = (await site.ask("GET", "/auth/session", cookie=answer.cookie)).json
        assert (shown["mode"], shown["admin"]) == ("key", False)
        assert shown["scopes"] == ["inference", "balance", "usage"]
        assert made["key"] not in str(shown)
        assert (await site.ask("GET", "/v1/key", cookie=answer.cookie)).json["id"] == made["data"]["id"]
        for path in ("/v1/keys", "/auth/sessions", "/v1/me/provider-tokens"):
            assert (await site.ask("GET", path, cookie=answer.cookie)).is_error(403, "forbidden")
        await site.ask("DELETE", f"/v1/keys/{made['data']['id']}", token=site.ada)
        assert (await site.ask("GET", "/auth/session", cookie=answer.cookie)).json == {"authenticated": False}
        answer = await post(site, "/auth/session", {"mode": "key", "key": made["key"]})
        assert answer.is_error(401, "key_revoked")
        assert answer.error["message"] == "That key is not valid any more."


async def test_keys_of_the_settings_sign_in_and_admin_keys_do_not(store: Store) -> None:
    async with open_site(store) as site:
        answer = await post(site, "/auth/session", {"mode": "key", "key": LISTED_KEY})
        shown = (await site.ask("GET", "/auth/session", cookie=answer.cookie)).json
        assert shown["account_id"].startswith("acct_")
        assert LISTED_KEY not in str(shown)
        for wrong in (ADMIN_KEY, site.ada, "sk-db-none"):
            assert (await post(site, "/auth/session", {"mode": "key", "key": wrong})).status == 401


async def test_an_identity_token_becomes_a_session(store: Store) -> None:
    async with open_site(store) as site:
        answer = await post(site, "/auth/session", {"mode": "privy", "token": site.ada})
        shown = (await site.ask("GET", "/auth/session", cookie=answer.cookie)).json
        assert (shown["mode"], shown["admin"], shown["display"]) == ("privy", True, "ada@example.com")
        site.times.go(2 * 3600)
        assert (await site.ask("GET", "/v1/keys", cookie=answer.cookie)).status == 200
        expired = await post(site, "/auth/session", {"mode": "privy", "token": site.ada})
        assert expired.is_error(401, "authentication_error")


async def test_what_is_not_set_up_is_said(store: Store) -> None:
    async with open_site(store, privy=False) as site:
        answer = await post(site, "/auth/session", {"mode": "privy", "token": "x"})
        assert answer.is_error(503, "not_configured")
        answer = await post(site, "/auth/signup", {"login": "ada", "password": GOOD})
        assert answer.is_error(400, "signup_refused")
    async with open_site(store, local_auth=False) as site:
        for path, body in (
            ("/auth/session", {"mode": "local", "login": "ada", "password": GOOD}),
            ("/auth/signup", {"login": "ada", "password": GOOD}),
        ):
            assert (await post(site, path, body)).is_error(404, "not_found")


async def test_bad_bodies(store: Store) -> None:
    bodies = [
        b"",
        b"[]",
        b"{}",
        b'{"mode": "header"}',
        b'{"mode": "local"}',
        b'{"mode": "local", "login": 5, "password": "x"}',
        b'{"mode": "key", "key": ""}',
        b'{"mode": "privy"}',
    ]
    async with open_site(store) as site:
        for body in bodies:
            answer = await post(site, "/auth/session", body)
            assert answer.is_error(400, "bad_request")
            assert "set-cookie" not in answer.headers


async def test_the_first_administrator(store: Store) -> None:
    async with open_site(store, privy=False) as site:
        assert site.accounts.local is not None
        token = await site.accounts.local.new_setup_token()
        body = {"setup": token, "login": "boss", "password": GOOD}
        answer = await post(site, "/auth/signup", body)
        assert answer.status == 204
        assert (await site.ask("GET", "/auth/session", cookie=answer.cookie)).json["admin"] is True
        again = await post(site, "/auth/signup", body | {"login": "eve"})
        assert again.error["message"] == "This setup link has been used."
        assert await site.accounts.local.new_setup_token() is None


async def test_invitations(store: Store) -> None:
    async with open_site(store, privy=False, signup="invite") as site:
        assert site.accounts.local is not None
        code = await site.accounts.local.invite("admin")
        refused = await post(site, "/auth/signup", {"login": "ada", "password": GOOD})
        assert refused.is_error(400, "signup_refused")
        assert (await post(site, "/auth/signup", {"login": "ada", "password": GOOD, "invite": code})).status == 204


async def test_sessions_are_listed_and_ended(store: Store) -> None:
    async with open_site(store, privy=False, signup="open") as site:
        first = await join(site)
        browser = {**PAGE, "User-Agent": "Firefox\x1b/1.0"}
        site.times.go(60)
        body = {"mode": "local", "login": "ada", "password": GOOD}
        second = (await site.ask("POST", "/auth/session", body, headers=browser)).cookie
        listed = (await site.ask("GET", "/auth/sessions", cookie=second)).json["data"]
        assert [(one["label"], one["current"]) for one in listed] == [("Firefox/1.0", True), ("Quart", False)]
        assert first not in str(listed)
        path = f"/auth/sessions/{listed[1]['id']}"
        other = await join(site, "eve")
        assert (await site.ask("DELETE", path, cookie=other, headers=PAGE)).is_error(404, "not_found")
        assert (await site.ask("DELETE", path, cookie=second)).is_error(403, "csrf_failed")
        assert (await site.ask("DELETE", path, cookie=second, headers=PAGE)).status == 204
        assert (await site.ask("GET", "/auth/session", cookie=first)).json == {"authenticated": False}
        assert (await site.ask("DELETE", "/auth/sessions/%00", cookie=second, headers=PAGE)).status == 404


async def test_a_new_password(store: Store) -> None:
    async with open_site(store, privy=False, signup="open") as site:
        first = await join(site)
        second = (await sign_in(site)).cookie
        body = {"old_password": GOOD, "new_password": "another good one"}
        wrong = await post(site, "/auth/password", body | {"old_password": "nope nope nope"}, second)
        assert wrong.is_error(401, "invalid_login")
        short = await post(site, "/auth/password", body | {"new_password": "short"}, second)
        assert short.is_error(400, "bad_request")
        answer = await post(site, "/auth/password", body, second)
        assert answer.status == 204
        for ended in (first, second):
            assert (await site.ask("GET", "/auth/session", cookie=ended)).json == {"authenticated": False}
        assert (await site.ask("GET", "/auth/session", cookie=answer.cookie)).json["authenticated"]
        assert (await sign_in(site)).status == 401
        assert (await sign_in(site, password="another good one")).status == 204


async def test_a_password_is_changed_only_in_a_browser(store: Store) -> None:
    async with open_site(store) as site:
        body = {"old_password": GOOD, "new_password": "another good one"}
        answer = await site.ask("POST", "/auth/password", body, token=site.ada)
        assert answer.is_error(403, "forbidden")
        cookie = (await post(site, "/auth/session", {"mode": "privy", "token": site.ada})).cookie
        assert (await post(site, "/auth/password", body, cookie)).is_error(404, "not_found")
