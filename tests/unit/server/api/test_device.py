"""The device login over HTTP: JSON and form, the page's side, limits, and the log-out of a machine."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
import trio

from server.api.device import GRANT
from server.store import Store, StoreUnavailable
from tests.unit.server.api.account_site import ADMIN_KEY, LISTED_KEY, PAGE, AccountSite, Answer, open_site

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


async def start(site: AccountSite, body: object = None, **more: str) -> tuple[str, str]:
    answer = await site.ask("POST", "/v1/device/code", body, **more)  # type: ignore[arg-type]
    assert answer.status == 200, answer.body
    return answer.json["device_code"], answer.json["user_code"]


async def poll(site: AccountSite, device_code: str) -> Answer:
    site.times.go(10)
    return await site.ask("POST", "/v1/device/token", {"device_code": device_code})


async def approve(site: AccountSite, user_code: str, token: str | None = None) -> Answer:
    site.times.go(60)
    return await site.ask("POST", "/v1/device/approve", {"user_code": user_code}, token=token or site.ada)


async def test_a_code_is_given_with_its_links(store: Store) -> None:
    async with open_site(store, console_url="https://console.example/") as site:
        answer = await site.ask("POST", "/v1/device/code")
        made = answer.json
        assert answer.headers["cache-control"] == "private, no-store"
        assert len(made["device_code"]) == 64
        assert made == {
            "device_code": made["device_code"],
            "user_code": made["user_code"],
            "verification_uri": "https://console.example/link",
            "verification_uri_complete": f"https://console.example/link?code={made['user_code']}",
            "expires_in": 900,
            "interval": 5,
        }


async def test_without_a_console_the_request_s_own_host_is_shown(store: Store) -> None:
    shown = {
        "db.example:8080": "http://db.example:8080/link",
        "[::1]:8080": "http://[::1]:8080/link",
        "evil.example/path?x=": "/link",
        "a b": "/link",
    }
    async with open_site(store) as site:
        for host, uri in shown.items():
            answer = await site.ask("POST", "/v1/device/code", {}, headers={"Host": host})
            assert answer.json["verification_uri"] == uri


async def test_the_json_way(store: Store) -> None:
    async with open_site(store) as site:
        device_code, user_code = await start(site, {"client_label": "mac\x1b mini", "chip": "M4"})
        assert (await poll(site, device_code)).json == {"status": "authorization_pending"}
        shown = await site.ask("GET", f"/v1/device/pending?user_code={user_code.lower()}", token=site.ada)
        assert shown.json["client_label"] == "mac mini"
        assert (shown.json["chip"], shown.json["region"]) == ("M4", "203.0.113.0/24")
        assert shown.json["user_code"] == user_code
        approved = await approve(site, user_code.replace("-", "").lower())
        assert (approved.status, approved.json["status"]) == (200, "approved")
        assert approved.json["message"]
        assert (await approve(site, user_code)).is_error(409, "already_used")
        answer = await poll(site, device_code)
        assert set(answer.json) == {"status", "token", "account_id"}
        assert answer.json["status"] == "authorized"
        assert await site.accounts.provider_tokens.account_of(answer.json["token"]) == answer.json["account_id"]
        assert (await poll(site, device_code)).is_error(404, "invalid_grant")


async def test_the_form_way_speaks_rfc_8628(store: Store) -> None:
    async with open_site(store) as site:
        form = urlencode({"client_id": "darkbloom", "client_label": "mini"}).encode()
        device_code, user_code = await start_form(site, form)

        async def ask(**fields: str) -> Answer:
            site.times.go(10)
            return await site.ask("POST", "/v1/device/token", urlencode(fields).encode(), headers=FORM)

        good = {"grant_type": GRANT, "device_code": device_code}
        pending = await ask(**good)
        assert (pending.status, pending.json) == (400, {"error": "authorization_pending"})
        assert (await ask(grant_type="password", device_code=device_code)).json == {"error": "unsupported_grant_type"}
        assert (await ask(grant_type=GRANT)).json == {"error": "invalid_request"}
        assert (await ask(grant_type=GRANT, device_code="x")).json == {"error": "invalid_grant"}
        await approve(site, user_code)
        answer = await ask(**good)
        assert answer.status == 200
        assert (answer.json["token_type"], answer.headers["cache-control"]) == ("Bearer", "private, no-store")
        assert answer.json["access_token"].startswith("eigeninference-pt-")
        assert (await ask(**good)).json == {"error": "invalid_grant"}


async def start_form(site: AccountSite, form: bytes) -> tuple[str, str]:
    answer = await site.ask("POST", "/v1/device/code", form, headers=FORM)
    assert answer.status == 200, answer.body
    return answer.json["device_code"], answer.json["user_code"]


async def test_denial_and_expiry_in_both_ways(store: Store) -> None:
    async with open_site(store) as site:
        denied, denied_code = await start(site)
        site.times.go(60)
        answer = await site.ask("POST", "/v1/device/deny", {"user_code": denied_code}, token=site.ada)
        assert (answer.status, answer.json) == (200, {"status": "denied"})
        late, late_code = await start(site)

        async def form(code: str) -> Answer:
            fields = urlencode({"grant_type": GRANT, "device_code": code}).encode()
            return await site.ask("POST", "/v1/device/token", fields, headers=FORM)

        assert (await poll(site, denied)).is_error(403, "access_denied")
        assert (await form(denied)).json == {"error": "access_denied"}
        site.times.go(901)
        assert (await poll(site, late)).is_error(410, "expired_token")
        assert (await form(late)).json == {"error": "expired_token"}
        assert (await approve(site, late_code)).is_error(410, "expired_code")


async def test_fast_polls_are_told_to_slow_down(store: Store) -> None:
    async with open_site(store) as site:
        device_code, _ = await start(site)
        body = {"device_code": device_code}
        assert (await site.ask("POST", "/v1/device/token", body)).status == 200
        answer = await site.ask("POST", "/v1/device/token", body)
        assert answer.is_error(429, "slow_down")
        assert answer.headers["retry-after"] == "5"
        fields = urlencode({"grant_type": GRANT, "device_code": device_code}).encode()
        rfc = await site.ask("POST", "/v1/device/token", fields, headers=FORM)
        assert (rfc.status, rfc.json) == (400, {"error": "slow_down"})


async def test_twenty_concurrent_polls_get_one_token(store: Store) -> None:
    async with open_site(store) as site:
        device_code, user_code = await start(site)
        await approve(site, user_code)
        statuses: list[object] = []

        async def ask(number: int) -> None:
            body = {"device_code": device_code}
            answer = await site.ask("POST", "/v1/device/token", body, ip=f"203.0.113.{number}")
            statuses.append(answer.json.get("status") or answer.error["code"])

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(ask, number)
        assert sorted(map(str, statuses)) == ["authorized"] + ["invalid_grant"] * 19
        assert await store.read(lambda tx: tx.value("SELECT COUNT(*) FROM provider_tokens")) == 1


async def test_bad_requests(store: Store) -> None:
    async with open_site(store) as site:
        for body in (b"", b"{}", b'{"device_code": 5}', b"[]", b"{"):
            site.times.go(10)
            assert (await site.ask("POST", "/v1/device/token", body)).is_error(400, "invalid_request")
        for path in ("/v1/device/approve", "/v1/device/deny"):
            for body in (b"", b"{}", b'{"user_code": ""}'):
                site.times.go(60)
                assert (await site.ask("POST", path, body, token=site.ada)).is_error(400, "invalid_request")
        assert (await site.ask("POST", "/v1/device/token", {"device_code": "x"})).is_error(404, "invalid_grant")
        assert (await approve(site, "ABCD-2345")).is_error(404, "invalid_code")
        assert (await approve(site, "nonsense")).is_error(404, "invalid_code")
        assert (await site.ask("GET", "/v1/device/pending", token=site.ada)).is_error(404, "invalid_code")


async def test_only_a_signed_in_person_decides(store: Store) -> None:
    async with open_site(store) as site:
        _, user_code = await start(site)
        for token in (LISTED_KEY, ADMIN_KEY):
            assert (await approve(site, user_code, token)).is_error(403, "forbidden")
        body = {"user_code": user_code}
        assert (await site.ask("POST", "/v1/device/deny", body, token=LISTED_KEY)).is_error(403, "forbidden")
        assert (await site.ask("GET", f"/v1/device/pending?user_code={user_code}")).status == 401
        signed_in = await site.ask("POST", "/auth/session", {"mode": "privy", "token": site.ada}, headers=PAGE)
        answer = await site.ask("POST", "/v1/device/approve", body, cookie=signed_in.cookie)
        assert answer.is_error(403, "csrf_failed")
        answer = await site.ask("POST", "/v1/device/approve", body, cookie=signed_in.cookie, headers=PAGE)
        assert answer.status == 200


async def test_codes_are_limited_by_network_and_guesses_by_account(store: Store) -> None:
    async with open_site(store, financial_rate_limit_rps=0) as site:
        for _ in range(5):
            await start(site)
        answer = await site.ask("POST", "/v1/device/code")
        assert answer.is_error(429, "rate_limit_exceeded")
        assert answer.headers["retry-after"] == "10"
        await start(site, None, ip="203.0.113.8")
        for _ in range(10):
            answer = await site.ask("POST", "/v1/device/approve", {"user_code": "ABCD-2345"}, token=site.ada)
            assert answer.is_error(404, "invalid_code")
        answer = await site.ask("POST", "/v1/device/approve", {"user_code": "ABCD-2345"}, token=site.ada)
        assert answer.is_error(429, "rate_limit_exceeded")
        assert "Try again in 1 minute" in answer.error["message"]


async def test_polls_are_limited_by_network(store: Store) -> None:
    async with open_site(store) as site:
        for _ in range(10):
            assert (await site.ask("POST", "/v1/device/token", {"device_code": "x"})).status == 404
        assert (await site.ask("POST", "/v1/device/token", {"device_code": "x"})).is_error(429, "rate_limit_exceeded")
        rfc = await site.ask("POST", "/v1/device/token", b"grant_type=x", headers=FORM)
        assert (rfc.status, rfc.json, rfc.headers["retry-after"]) == (400, {"error": "slow_down"}, "1")


async def link(site: AccountSite) -> str:
    device_code, user_code = await start(site)
    await approve(site, user_code)
    token: str = (await poll(site, device_code)).json["token"]
    return token


async def test_a_machine_logs_out(store: Store) -> None:
    async with open_site(store) as site:
        token = await link(site)
        assert await site.accounts.provider_tokens.link("session", token)
        for _ in range(2):
            answer = await site.ask("DELETE", "/v1/device/token", token=token)
            assert (answer.status, answer.body) == (204, b"")
        assert site.unlinked == ["session"]
        assert (await site.ask("DELETE", "/v1/device/token", token="unknown")).status == 204
        assert (await site.ask("DELETE", "/v1/device/token")).is_error(401, "authentication_error")
        assert await site.accounts.provider_tokens.link("session", token) is None


async def test_a_log_out_that_failed_does_not_claim_success(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_site(store) as site:
        token = await link(site)

        async def down(_work: object) -> None:
            raise StoreUnavailable("down")

        monkeypatch.setattr(store, "write", down)
        answer = await site.ask("DELETE", "/v1/device/token", token=token)
        assert answer.status == 500
        assert token not in answer.body.decode()


async def test_a_person_lists_and_revokes_machines(store: Store) -> None:
    async with open_site(store) as site:
        token = await link(site)
        await site.accounts.provider_tokens.link("session", token)
        (shown,) = (await site.ask("GET", "/v1/me/provider-tokens", token=site.ada)).json["data"]
        assert shown["label"].startswith("device-")
        assert shown["active"] is True
        path = f"/v1/me/provider-tokens/{shown['id']}"
        site.times.go(60)
        assert (await site.ask("DELETE", path, token=site.eve)).is_error(404, "not_found")
        assert (await site.ask("DELETE", path, token=LISTED_KEY)).is_error(403, "forbidden")
        assert site.unlinked == []
        assert (await site.ask("DELETE", path, token=site.ada)).json == {"status": "revoked"}
        assert site.unlinked == ["session"]
        assert (await site.ask("DELETE", path, token=site.ada)).is_error(404, "not_found")
        assert (await site.ask("DELETE", "/v1/me/provider-tokens/%", token=site.eve)).is_error(404, "not_found")
        (shown,) = (await site.ask("GET", "/v1/me/provider-tokens", token=site.ada)).json["data"]
        assert shown["active"] is False
        assert "revoked_at" in shown
        assert (await site.ask("GET", "/v1/me/provider-tokens", token=site.eve)).json["data"] == []


async def test_a_machine_s_token_is_no_api_key(store: Store) -> None:
    async with open_site(store) as site:
        token = await link(site)
        assert (await site.ask("GET", "/v1/key", token=token)).is_error(401, "authentication_error")


async def test_unknown_tokens_cost_nothing_and_soon_nobody_listens(store: Store) -> None:
    async with open_site(store) as site:
        book = site.accounts.book
        generation = book.generation
        statuses = []
        for number in range(32):
            unknown = f"eigeninference-pt-{number:064x}"
            statuses.append((await site.ask("DELETE", "/v1/device/token", token=unknown)).status)
        assert statuses == [204] * 30 + [503] * 2
        # Lookups of other machines' tokens, which start anew with each generation, were not disturbed.
        assert book.generation == generation
        site.times.go(60)
        assert (await site.ask("DELETE", "/v1/device/token", token="x")).status == 204
