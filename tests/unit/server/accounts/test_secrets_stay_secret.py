"""Every secret of accounts is planted, used and abused; then everything that is written or shown is searched for it."""

from __future__ import annotations

import io
import logging
from urllib.parse import urlencode

import pytest

from server.accounts.browser import BrowserFacts
from server.accounts.callers import RequestFacts
from server.accounts.device_login import LinkedMachine
from server.api.device import GRANT
from server.observe.log_format import JsonFormatter
from server.store import Store, StoreUnavailable
from tests.unit.server.api.account_site import ADMIN_KEY, LISTED_KEY, PAGE, open_site

PASSWORD = "planted password of ada"
PUBLIC_HEAD = 40
"""The heads of identity tokens are alike; this much of any secret is the secret's own."""

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


async def test_no_secret_is_logged_shown_or_stored(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    # Through setLevel: loggers remember what they are enabled for.
    loggers = [root, *(logging.getLogger(name) for name in ("darkbloom", "httpx", "httpcore"))]
    levels = [logger.level for logger in loggers]
    for logger, level in zip(loggers, [logging.DEBUG, logging.DEBUG, logging.INFO, logging.INFO], strict=True):
        logger.setLevel(level)
    root.addHandler(handler)
    secrets: set[str] = {PASSWORD, ADMIN_KEY, LISTED_KEY, "privy-app-secret-planted"}
    answers: list[bytes] = []
    shown: list[object] = []
    try:
        async with open_site(store, signup="open", financial_rate_limit_rps=0) as site:
            secrets |= {site.ada, site.eve}
            accounts = site.accounts

            made = (await site.ask("POST", "/v1/keys", {"name": "n"}, token=site.ada)).json
            rotated = (await site.ask("POST", f"/v1/keys/{made['data']['id']}/rotate", token=site.ada)).json
            plain = (await site.ask("POST", "/v1/auth/keys", token=site.ada)).json
            secrets |= {made["key"], rotated["key"], plain["api_key"]}
            login = {"login": "ada", "password": PASSWORD}
            cookie = (await site.ask("POST", "/auth/signup", login, headers=PAGE)).cookie
            key_cookie = (
                await site.ask("POST", "/auth/session", {"mode": "key", "key": rotated["key"]}, headers=PAGE)
            ).cookie
            secrets |= {cookie, key_cookie}
            started = (await site.ask("POST", "/v1/device/code")).json
            await site.ask("POST", "/v1/device/approve", {"user_code": started["user_code"]}, token=site.ada)
            token = (await site.ask("POST", "/v1/device/token", {"device_code": started["device_code"]})).json["token"]
            secrets |= {started["device_code"], token}
            publishing = await accounts.publishing.create("builder")
            secrets.add(publishing.secret)
            await accounts.provider_tokens.link("session", token)

            # From here on every answer is searched: reads, refusals, crashes of the database.
            async def ask(method: str, path: str, body: object = None, **more: object) -> None:
                answers.append((await site.ask(method, path, body, **more)).body)  # type: ignore[arg-type]

            async def round_of_requests() -> None:
                for credential in (site.ada, site.eve, rotated["key"], made["key"], ADMIN_KEY, LISTED_KEY, token):
                    for path in ("/v1/keys", "/v1/key", "/v1/me/provider-tokens", "/auth/sessions", "/auth/session"):
                        await ask("GET", path, token=credential, ip="2001:db8::1")
                for one in (cookie, key_cookie):
                    await ask("GET", "/auth/session", cookie=one)
                    await ask("POST", "/auth/session", {"mode": "local", **login}, cookie=one)
                await ask(
                    "POST", "/auth/session", {"mode": "local", "login": "ada", "password": PASSWORD + "x"}, headers=PAGE
                )
                await ask("POST", "/auth/session", {"mode": "key", "key": made["key"]}, headers=PAGE)
                await ask("POST", "/auth/session", {"mode": "privy", "token": site.ada + "x"}, headers=PAGE)
                await ask("POST", "/auth/signup", login, headers=PAGE)
                await ask("POST", "/v1/device/token", {"device_code": started["device_code"]})
                form = urlencode({"grant_type": GRANT, "device_code": started["device_code"]}).encode()
                await ask("POST", "/v1/device/token", form, headers=FORM)
                await ask("DELETE", "/v1/auth/keys", {"key": plain["api_key"]}, token=site.eve)

            await round_of_requests()
            tables = await store.read(
                lambda tx: _everything(
                    tx,
                    [
                        "users",
                        "api_keys",
                        "web_sessions",
                        "device_codes",
                        "provider_tokens",
                        "publishing_api_keys",
                        "local_credentials",
                    ],
                )
            )
            shown += [accounts, made["data"], tables, *[getattr(accounts, name) for name in accounts.__slots__]]
            shown += [await accounts.keys.authenticate(rotated["key"]), accounts.keys.recall(rotated["key"])]
            ada = (await accounts.keys.authenticate(rotated["key"])).account_id  # type: ignore[union-attr]
            new_key = await accounts.key_desk.create(ada, {})
            opened = await accounts.sessions.open(ada, "local")
            login_of_machine = await accounts.device.start()
            await accounts.device.approve(login_of_machine.user_code, ada)
            machine = await accounts.device.poll(login_of_machine.device_code)
            assert isinstance(machine, LinkedMachine)
            secrets |= {new_key.secret, opened.cookie, login_of_machine.device_code, machine.token}
            facts = RequestFacts(
                authorization=f"Bearer {site.ada}",
                api_key=LISTED_KEY,
                cookie=cookie,
                ip="203.0.113.7",
                browser=BrowserFacts(method="GET", own_origins=frozenset()),
            )
            shown += [new_key, opened, login_of_machine, machine, publishing, facts, facts.credential()]
            shown += [await accounts.sessions.find(cookie), await accounts.provider_tokens.list("x")]

            async def down(_work: object) -> None:
                raise StoreUnavailable("down")

            monkeypatch.setattr(store, "read", down)
            monkeypatch.setattr(store, "write", down)
            site.times.go(60)
            await round_of_requests()
    finally:
        root.removeHandler(handler)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
    haystacks = {"logs": written.getvalue(), "answers": b"\n".join(answers).decode(), "shown": repr(shown)}
    assert len(haystacks["answers"]) > 5000
    assert "request" in haystacks["logs"]
    for name, haystack in haystacks.items():
        found = [secret[:12] for secret in secrets if secret[-24:] in haystack or secret[:PUBLIC_HEAD] in haystack]
        assert found == [], f"{name} hold secrets that begin with {found}"


async def _everything(tx: object, tables: list[str]) -> list[object]:
    return [dict(row) for table in tables for row in await tx.fetch(f"SELECT * FROM {table}")]  # type: ignore[attr-defined]
