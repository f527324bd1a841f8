"""Key management over HTTP: shapes, guards, mistakes, limits, and the life of a secret."""

from __future__ import annotations

import pytest
import trio

from server.store import Store, StoreUnavailable
from tests.unit.server.api.account_site import ADMIN_KEY, LISTED_KEY, PAGE, AccountSite, open_site


async def make(site: AccountSite, token: str | None = None, **settings: object) -> tuple[str, str]:
    """Give secret and id of a new key; the financial limit does not get in the way."""
    site.times.go(60)
    answer = await site.ask("POST", "/v1/keys", settings or None, token=token or site.ada)
    assert answer.status == 200, answer.body
    return answer.json["key"], answer.json["data"]["id"]


async def test_a_key_is_created_with_nothing_and_with_everything(store: Store) -> None:
    async with open_site(store) as site:
        answer = await site.ask("POST", "/v1/keys", token=site.ada)
        assert answer.status == 200
        assert answer.headers["cache-control"] == "private, no-store"
        made = answer.json
        assert made["key"].startswith("sk-db-")
        assert made["data"] == {
            "id": made["data"]["id"],
            "name": "",
            "label": made["key"][:10] + "..." + made["key"][-4:],
            "disabled": False,
            "limit_reset": "none",
            "usage_usd": 0,
            "self_route_only": False,
            "created_at": "2026-05-28T20:26:40Z",
        }
        body = {
            "name": " laptop ",
            "limit_usd": 1,
            "limit_reset": "daily",
            "rpm_limit": 60,
            "itpm_limit": 1000,
            "otpm_limit": 500,
            "allowed_models": ["a/b"],
            "self_route_only": True,
            "expires_at": "2030-01-01T00:00:00Z",
        }
        site.times.go(60)
        data = (await site.ask("POST", "/v1/keys", body, token=site.ada)).json["data"]
        for member, value in body.items():
            assert data[member] == (value.strip() if isinstance(value, str) else value)
        assert (data["usage_usd"], data["remaining_usd"]) == (0, 1)


async def test_amounts_are_numbers_digit_for_digit(store: Store) -> None:
    async with open_site(store) as site:
        answer = await site.ask("POST", "/v1/keys", b'{"limit_usd": 0.29}', token=site.ada)
        assert b'"limit_usd":0.29,' in answer.body
        assert b'"usage_usd":0,' in answer.body


async def test_a_key_works_and_never_shows_again(store: Store) -> None:
    async with open_site(store) as site:
        secret, key_id = await make(site, name="laptop")
        for path in ("/v1/keys", f"/v1/keys/{key_id}"):
            answer = await site.ask("GET", path, token=site.ada)
            assert answer.status == 200
            assert secret not in answer.body.decode()
        own = await site.ask("GET", "/v1/key", token=secret)
        assert (own.status, own.json["id"], own.json["name"]) == (200, key_id, "laptop")


async def test_lists_are_newest_first(store: Store) -> None:
    async with open_site(store) as site:
        ids = [(await make(site))[1] for _ in range(3)]
        listed = (await site.ask("GET", "/v1/keys", token=site.ada)).json
        assert listed["object"] == "list"
        assert [one["id"] for one in listed["data"]] == ids[::-1]


async def test_patch_changes_what_it_names(store: Store) -> None:
    async with open_site(store) as site:
        _, key_id = await make(site, name="n", limit_usd=1, rpm_limit=5)
        site.times.go(60)
        data = (await site.ask("PATCH", f"/v1/keys/{key_id}", {"limit_usd": None}, token=site.ada)).json
        assert "limit_usd" not in data
        assert "remaining_usd" not in data
        assert (data["name"], data["rpm_limit"]) == ("n", 5)
        data = (await site.ask("PATCH", f"/v1/keys/{key_id}", {"disabled": True}, token=site.ada)).json
        assert data["disabled"] is True
        refused = await site.ask("PATCH", f"/v1/keys/{key_id}", {"rpm_limit": -1}, token=site.ada)
        assert refused.is_error(400, "bad_request")
        assert refused.error["param"] == "rpm_limit"


async def test_bad_bodies_are_bad_requests(store: Store) -> None:
    bodies = [
        b"{",
        b"[]",
        b"5",
        b'{"limit_usd": -1}',
        b'{"limit_reset": "hourly"}',
        b"\xff",
        b"[" * 2000,
        b'{"limit_usd": 1e99}',
        b'{"name": "\\ud800"}',
        b'{"name": "\\u0000"}',
    ]
    async with open_site(store, financial_rate_limit_rps=0) as site:
        for body in bodies:
            for method, path in (("POST", "/v1/keys"), ("PATCH", "/v1/keys/key_" + "0" * 24)):
                assert (await site.ask(method, path, body, token=site.ada)).is_error(400, "bad_request")


async def test_a_large_body_is_too_large(store: Store) -> None:
    async with open_site(store) as site:
        body = b'{"name": "' + b"x" * 70_000 + b'"}'
        assert (await site.ask("POST", "/v1/keys", body, token=site.ada)).is_error(413, "payload_too_large")


async def test_rotation_and_revocation(store: Store) -> None:
    async with open_site(store) as site:
        old, key_id = await make(site, name="laptop")
        assert (await site.ask("GET", "/v1/key", token=old)).status == 200
        site.times.go(60)
        rotated = (await site.ask("POST", f"/v1/keys/{key_id}/rotate", token=site.ada)).json
        assert (await site.ask("GET", "/v1/key", token=old)).is_error(401, "key_revoked")
        assert (await site.ask("GET", "/v1/key", token=rotated["key"])).json["name"] == "laptop"
        again = await site.ask("POST", f"/v1/keys/{key_id}/rotate", token=site.ada)
        assert again.is_error(404, "not_found")
        answer = await site.ask("DELETE", f"/v1/keys/{rotated['data']['id']}", token=site.ada)
        assert (answer.status, answer.json) == (200, {"status": "revoked"})
        assert (await site.ask("GET", "/v1/key", token=rotated["key"])).is_error(401, "key_revoked")
        assert (await site.ask("GET", "/v1/keys", token=site.ada)).json["data"] == []


async def test_two_concurrent_rotations_are_one_200_and_one_404(store: Store) -> None:
    async with open_site(store) as site:
        _, key_id = await make(site)
        site.times.go(60)
        statuses: list[int] = []

        async def rotate() -> None:
            statuses.append((await site.ask("POST", f"/v1/keys/{key_id}/rotate", token=site.ada)).status)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(rotate)
            nursery.start_soon(rotate)
        assert sorted(statuses) == [200, 404]
        assert len((await site.ask("GET", "/v1/keys", token=site.ada)).json["data"]) == 1


async def test_keys_of_others_are_not_found(store: Store) -> None:
    async with open_site(store) as site:
        _, key_id = await make(site)
        for method, path in (
            ("GET", f"/v1/keys/{key_id}"),
            ("POST", f"/v1/keys/{key_id}/rotate"),
            ("DELETE", f"/v1/keys/{key_id}"),
            ("GET", "/v1/keys/key_" + "0" * 24),
            ("GET", "/v1/keys/%00"),
        ):
            assert (await site.ask(method, path, token=site.eve)).is_error(404, "not_found")
            site.times.go(60)


async def test_api_keys_and_admin_keys_manage_no_keys(store: Store) -> None:
    async with open_site(store) as site:
        secret, key_id = await make(site)
        for token in (secret, LISTED_KEY, ADMIN_KEY):
            for method, path in (
                ("GET", "/v1/keys"),
                ("POST", "/v1/keys"),
                ("GET", f"/v1/keys/{key_id}"),
                ("PATCH", f"/v1/keys/{key_id}"),
                ("POST", f"/v1/keys/{key_id}/rotate"),
                ("DELETE", f"/v1/keys/{key_id}"),
                ("POST", "/v1/auth/keys"),
                ("DELETE", "/v1/auth/keys"),
            ):
                assert (await site.ask(method, path, token=token)).is_error(403, "forbidden")
        assert (await site.ask("GET", "/v1/keys")).is_error(401, "authentication_error")


async def test_a_browser_session_manages_keys_only_from_our_own_page(store: Store) -> None:
    async with open_site(store) as site:
        cookie = (await site.ask("POST", "/auth/session", {"mode": "privy", "token": site.ada}, headers=PAGE)).cookie
        assert (await site.ask("POST", "/v1/keys", cookie=cookie, headers=PAGE)).status == 200
        evil = {"Origin": "https://evil.example", "X-CSRF": "1"}
        assert (await site.ask("POST", "/v1/keys", cookie=cookie, headers=evil)).status == 401
        assert (await site.ask("POST", "/v1/keys", cookie=cookie)).is_error(403, "csrf_failed")
        assert (await site.ask("GET", "/v1/keys", cookie=cookie)).status == 200


async def test_the_calling_key_is_not_found_for_other_callers(store: Store) -> None:
    async with open_site(store) as site:
        for token in (site.ada, ADMIN_KEY, LISTED_KEY):
            assert (await site.ask("GET", "/v1/key", token=token)).is_error(404, "not_found")


async def test_the_fourth_change_in_a_row_is_limited(store: Store) -> None:
    async with open_site(store) as site:
        for left in (2, 1, 0):
            answer = await site.ask("POST", "/v1/keys", token=site.ada)
            assert answer.headers["x-ratelimit-remaining-requests"] == str(left)
        answer = await site.ask("POST", "/v1/keys", token=site.ada)
        assert answer.is_error(429, "rate_limit_exceeded")
        assert answer.headers["retry-after"] == "5"
        assert answer.headers["x-ratelimit-limit-requests"] == "12"
        assert int(answer.headers["x-ratelimit-reset"]) == int(site.times.unix()) + 5
        assert (await site.ask("POST", "/v1/keys", token=site.eve)).status == 200
        assert (await site.ask("GET", "/v1/keys", token=site.ada)).status == 200


async def test_the_fifty_first_key_is_a_conflict(store: Store) -> None:
    async with open_site(store, financial_rate_limit_rps=0) as site:
        for _ in range(50):
            assert (await site.ask("POST", "/v1/keys", token=site.ada)).status == 200
        answer = await site.ask("POST", "/v1/keys", token=site.ada)
        assert answer.is_error(409, "conflict")
        assert answer.headers["x-should-retry"] == "false"


async def test_the_older_endpoints(store: Store) -> None:
    async with open_site(store) as site:
        made = (await site.ask("POST", "/v1/auth/keys", token=site.ada)).json
        assert set(made) == {"api_key", "account_id"}
        assert (await site.ask("GET", "/v1/key", token=made["api_key"])).status == 200
        path = "/v1/auth/keys"
        assert (await site.ask("DELETE", path, {"key": made["api_key"]}, token=site.eve)).is_error(403, "forbidden")
        assert (await site.ask("DELETE", path, {"key": "sk-db-none"}, token=site.ada)).is_error(404, "not_found")
        assert (await site.ask("DELETE", path, {}, token=site.ada)).is_error(400, "bad_request")
        answer = await site.ask("DELETE", path, {"key": made["api_key"]}, token=site.ada)
        assert (answer.status, answer.json) == (200, {"status": "revoked"})
        assert (await site.ask("GET", "/v1/key", token=made["api_key"])).is_error(401, "key_revoked")


async def test_an_outage_of_the_database_is_503(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_site(store) as site:
        await make(site)

        async def down(_work: object) -> None:
            raise StoreUnavailable("The database at secret-host did not answer.")

        monkeypatch.setattr(store, "read", down)
        for path, token in (("/v1/keys", site.ada), ("/v1/key", "sk-db-" + "0" * 64)):
            answer = await site.ask("GET", path, token=token)
            assert answer.is_error(503, "service_unavailable")
            assert answer.headers["retry-after"] == "2"
            assert b"secret-host" not in answer.body
