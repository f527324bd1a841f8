"""The application with the account endpoints over a real store, asked without sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import trio

from protocol.settings import Secret
from server.accounts.open import Accounts, open_accounts
from server.accounts.passwords import PasswordHasher
from server.api.account_endpoints import account_blueprints
from server.config import CoordinatorSettings
from server.observe import Metrics
from server.serve.app import build_app
from server.serve.drain import Drain
from server.store import Store
from tests.unit.server.accounts.people import APP, Signer, Times
from tests.unit.server.accounts.privy_peer import PrivyPeer, open_privy

ADMIN_KEY = "admin-key-" + "a" * 30
LISTED_KEY = "sk-db-listed-in-settings"
PAGE = {"Sec-Fetch-Site": "same-origin", "X-CSRF": "1"}


class Answer:
    """Status, headers (lower-case names) and body of one answer; `error` is the inside of the envelope."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = self.json["error"]
        assert isinstance(found["message"], str)
        return found

    def is_error(self, status: int, code: str) -> bool:
        return self.status == status and self.error["code"] == code

    @property
    def cookie(self) -> str:
        """The value of the session cookie that the answer sets."""
        return self.headers["set-cookie"].partition(";")[0].removeprefix("db_sess=")


class AccountSite:
    """`ask` sends a request; `ada` and `eve` are identity tokens of two people."""

    def __init__(self, store: Store, times: Times, settings: CoordinatorSettings, accounts: Accounts) -> None:
        self.store = store
        self.times = times
        self.accounts = accounts
        blueprints = account_blueprints(accounts, settings=settings, wall_clock=times.wall_clock)
        app = build_app(settings, metrics=Metrics(), drain=Drain(), blueprints=blueprints)
        self.client = app.test_client(use_cookies=False)
        self.signer = Signer()
        self.peer = PrivyPeer()
        self.unlinked: list[str] = []

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        cookie: str | None = None,
        headers: dict[str, str] | None = None,
        scheme: str = "http",
        ip: str = "203.0.113.7",
    ) -> Answer:
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        if cookie is not None:
            sent["Cookie"] = f"theme=dark; db_sess={cookie}"
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        response = await self.client.open(
            path, method=method, headers=sent, data=data, scheme=scheme, scope_base={"client": (ip, 1234)}
        )
        found = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, found, await response.get_data(as_text=False))

    @property
    def ada(self) -> str:
        return self.signer.token()

    @property
    def eve(self) -> str:
        return self.signer.token(sub="did:privy:eve")


@asynccontextmanager
async def open_site(
    store: Store, *, privy: bool = True, api: bool = True, **changes: Any
) -> AsyncGenerator[AccountSite]:
    """A site with Privy's peer (`privy`, `api`: with its secret) or without."""
    times, signer = Times(), Signer()
    unlinked: list[str] = []
    async with AsyncExitStack() as stack:
        peer = await stack.enter_async_context(open_privy())
        values: dict[str, Any] = {"admin_keys": (Secret(ADMIN_KEY),), "api_keys": (Secret(LISTED_KEY),)}
        if privy:
            values |= {
                "privy_app_id": APP,
                "privy_verification_key": Secret(signer.pem),
                "privy_api_url": peer.url,
                "privy_app_secret": Secret("privy-app-secret-planted") if api else None,
                "admin_emails": ("ada@example.com",),
                "local_auth": True,
            }
        settings = CoordinatorSettings(**{**values, **changes})
        accounts = await stack.enter_async_context(
            open_accounts(
                settings,
                store,
                clock=times.clock,
                wall_clock=times.wall_clock,
                hasher=PasswordHasher(log_n=4),
            )
        )
        accounts.book.on_revoked = unlinked.append
        site = AccountSite(store, times, settings, accounts)
        site.signer, site.peer, site.unlinked = signer, peer, unlinked
        peer.emails = {"did:privy:ada": "ada@example.com", "did:privy:eve": "eve@example.com"}
        nursery = await stack.enter_async_context(trio.open_nursery())
        if accounts.admin_codes is not None:
            nursery.start_soon(accounts.admin_codes.run)
        yield site
        nursery.cancel_scope.cancel()
