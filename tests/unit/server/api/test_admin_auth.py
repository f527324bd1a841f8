"""One-time codes for administrators: who gets one, what strangers learn, and the limits."""

from __future__ import annotations

import trio

from server.store import Store
from tests.unit.server.api.account_site import AccountSite, Answer, open_site


async def init(site: AccountSite, email: str = "ada@example.com") -> Answer:
    site.times.go(120)
    return await site.ask("POST", "/v1/admin/auth/init", {"email": email})


async def verify(site: AccountSite, email: str = "ada@example.com", code: str = "123456") -> Answer:
    site.times.go(120)
    return await site.ask("POST", "/v1/admin/auth/verify", {"email": email, "code": code})


async def sent(site: AccountSite, count: int) -> None:
    with trio.fail_after(10):
        while site.peer.count("/api/v1/passwordless/init") < count:
            await trio.sleep(0.01)


async def test_a_listed_address_gets_a_code_and_a_token(store: Store) -> None:
    async with open_site(store) as site:
        answer = await init(site, "Ada@Example.com")
        assert (answer.status, answer.json) == (200, {"status": "otp_sent", "email": "Ada@Example.com"})
        await sent(site, 1)
        answer = await verify(site, "Ada@Example.com")
        assert (answer.status, answer.json) == (200, {"token": "eyJ.signed.token", "email": "Ada@Example.com"})
        assert (await verify(site)).is_error(401, "auth_error")


async def test_other_addresses_get_the_same_answer_and_no_code(store: Store) -> None:
    async with open_site(store) as site:
        listed, other = await init(site), await init(site, "eve@example.com")
        await sent(site, 1)
        assert other.json == {"status": "otp_sent", "email": "eve@example.com"}
        assert {**listed.headers, "content-length": ""}.keys() == {**other.headers, "content-length": ""}.keys()
        assert site.peer.count("/api/v1/passwordless/init") == 1
        wrong, unlisted = await verify(site, code="000000"), await verify(site, "eve@example.com")
        assert (wrong.status, wrong.error) == (unlisted.status, unlisted.error)
        assert site.peer.count("/api/v1/passwordless/authenticate") == 1


async def test_bad_requests(store: Store) -> None:
    async with open_site(store) as site:
        for email in ("", "nobody", "a b@c", "x" * 400 + "@y.example"):
            assert (await init(site, email)).is_error(400, "bad_request")
        site.times.go(120)
        assert (await site.ask("POST", "/v1/admin/auth/init", b"")).is_error(400, "bad_request")
        assert (await verify(site, code="")).is_error(400, "bad_request")


async def test_an_outage_of_the_provider_shows_only_where_it_must(store: Store) -> None:
    async with open_site(store) as site:
        site.peer.down = True
        assert (await init(site)).status == 200
        assert (await verify(site)).is_error(500, "otp_error")


async def test_without_an_identity_provider_codes_are_not_configured(store: Store) -> None:
    for options in ({"privy": False}, {"api": False}):
        async with open_site(store, **options) as site:
            assert (await init(site)).is_error(503, "not_configured")
            assert (await verify(site)).is_error(503, "not_configured")


async def test_three_requests_of_a_network_are_the_most(store: Store) -> None:
    async with open_site(store) as site:
        for _ in range(3):
            await site.ask("POST", "/v1/admin/auth/init", {"email": "eve@example.com"}, ip="2001:db8::1")
        answer = await site.ask("POST", "/v1/admin/auth/verify", {}, ip="2001:db8::2")
        assert answer.is_error(429, "rate_limit_exceeded")
        assert answer.headers["retry-after"] == "50"


async def test_codes_of_one_address_cannot_be_guessed_from_many_networks(store: Store) -> None:
    async with open_site(store) as site:
        statuses = []
        for number in range(7):
            body = {"email": "ada@example.com", "code": f"{number}"}
            answer = await site.ask("POST", "/v1/admin/auth/verify", body, ip=f"203.0.113.{number}")
            statuses.append(answer.status)
        assert statuses == [401] * 5 + [429] * 2
