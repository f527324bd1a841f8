"""The application with its real layers over a world of scripted providers, asked without sockets."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import trio

from protocol.settings import Secret
from server.accounts import AuthRefusal, Identity, SettingsKeys
from server.accounts.callers import credential_of, missing, refused
from server.api import ApiServices, build_blueprints, build_endpoints
from server.api.auth import Door
from server.config import CoordinatorSettings
from server.limits import RequestLimiter, TierRates
from server.observe import Metrics, Supervisor
from server.serve.app import build_app
from server.serve.drain import Drain
from server.serve.sealing import key_ring, sealed_endpoints
from tests.unit.server.relay.relay_world import MODEL, World, open_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from server.accounts.callers import HeaderReader
    from server.store import Store

KEY = "sk-db-test"
MESSAGES = [{"role": "user", "content": "hello"}]


class Keys:
    """The settings' keys plus some with a special fate; a CallerFinder."""

    def __init__(self) -> None:
        self._listed = SettingsKeys([Secret(KEY)])
        self.special: dict[str, Identity | AuthRefusal] = {}
        self.without_machine: set[str] = set()

    async def authenticate(self, token: str) -> Identity | AuthRefusal:
        return self.special.get(token) or await self._listed.authenticate(token)

    async def identify_call(
        self, headers: HeaderReader, *, method: str, scheme: str, ip: str, origins: frozenset[str] = frozenset()
    ) -> Identity:
        token = credential_of(headers.get("Authorization", ""), headers.get("x-api-key", "")).token
        if not token:
            raise missing()
        found = await self.authenticate(token)
        if isinstance(found, AuthRefusal):
            raise refused(found)
        return found

    async def has_machine(self, account_id: str) -> bool:
        return account_id not in self.without_machine


class HealthyStore:
    """A database that answers."""

    async def ping(self) -> None:
        await trio.lowlevel.checkpoint()


class Site:
    """`ask` sends a request; `world` holds providers and settlements; `services` replace those of the API."""

    def __init__(self, world: World, services: Mapping[str, Any] | None = None, **changes: Any) -> None:
        settings = CoordinatorSettings(**{"max_body_bytes": 4096, **changes})
        self.world = world
        self.metrics = Metrics()
        self.drain = Drain()
        self.keys = Keys()
        self.supervisor = Supervisor(self.metrics, strict=True)
        limiter = RequestLimiter(TierRates(), clock=trio.current_time, wall_clock=lambda: 1_780_000_000.5)
        self.services = ApiServices(
            door=Door(callers=self.keys, limiter=limiter),
            store=cast("Store", HealthyStore()),
            has_machine=self.keys.has_machine,
            registry=world.registry,
            relay=world.relay,
            drain=self.drain,
            supervisor=self.supervisor,
            version="1.2.3",
            build_commit="dev",
            max_body_bytes=settings.max_body_bytes,
            cache_secret=b"s" * 32,
            clock=trio.current_time,
            wall_clock=lambda: 1_780_000_000.5,
            **(services or {}),
        )
        self.app = build_app(
            settings,
            metrics=self.metrics,
            drain=self.drain,
            blueprints=build_blueprints(self.services),
            endpoints=sealed_endpoints(build_endpoints(self.services), key_ring(settings), settings),
        )
        self.client = self.app.test_client()

    async def ask(
        self, method: str, path: str, *, body: object = None, key: str | None = KEY, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (lower-case names) and body of one answer."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            sent["Authorization"] = f"Bearer {key}"
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
        response = await self.client.open(path, method=method, headers=sent, data=data)
        found = {name.lower(): value for name, value in response.headers.items()}
        return response.status_code, found, await response.get_data(as_text=False)

    async def chat(self, **members: Any) -> tuple[int, dict[str, str], bytes]:
        """One chat completion with a valid key."""
        body = {"model": MODEL, "messages": MESSAGES} | members
        return await self.ask("POST", "/v1/chat/completions", body=body)


@asynccontextmanager
async def open_site(
    *, limits: Mapping[str, Any] | None = None, services: Mapping[str, Any] | None = None, **changes: Any
) -> AsyncIterator[Site]:
    """A site over a fresh world; `limits` are those of `open_world`, `changes` are settings."""
    async with open_world(**(limits or {})) as world:
        yield Site(world, services, **changes)


def error_of(body: bytes) -> dict[str, Any]:
    """The inside of the error envelope."""
    (name,) = decoded = json.loads(body)
    assert name == "error"
    error: dict[str, Any] = decoded["error"]
    assert isinstance(error["message"], str)
    assert isinstance(error["type"], str)
    return error
