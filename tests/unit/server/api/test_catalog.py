"""The public catalogue and the endpoints of publishers, over a real store."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from protocol.manifest import encode_manifest
from protocol.settings import Secret
from server.accounts.credentials import ListedSecrets
from server.accounts.publishing_keys import PublishingKeys, note_used
from server.accounts.use_notes import UseNotes
from server.api.admin_models import AdminModelServices, admin_models_blueprint
from server.api.catalog import catalog_blueprint
from server.config import CoordinatorSettings
from server.limits import NetworkLimits
from server.observe import Metrics
from server.serve.app import build_app
from server.serve.drain import Drain
from server.store import Store
from tests.testbed.store import open_test_store
from tests.unit.server.catalog.catalog_world import MODEL, CatalogWorld, manifest_of

KEY = "publishing-key-" + "p" * 20
ADMIN = "admin-key-" + "a" * 20


class CatalogSite:
    """`ask` sends a request; publishers send `KEY`."""

    def __init__(self, store: Store) -> None:
        self.world = CatalogWorld(store)
        self.limits = NetworkLimits(clock=lambda: 0.0)
        keys = PublishingKeys(
            store,
            bootstrap=ListedSecrets([Secret(KEY)]),
            admin_keys=ListedSecrets([Secret(ADMIN)]),
            uses=UseNotes(store, note_used),
            wall_clock=lambda: 1,
        )
        app = build_app(
            CoordinatorSettings(),
            metrics=Metrics(),
            drain=Drain(),
            blueprints=[
                catalog_blueprint(self.world.book, store, cdn_url="https://cdn.test/models"),
                admin_models_blueprint(
                    AdminModelServices(keys=keys, acts=self.world.acts, store=store, limits=self.limits)
                ),
            ],
        )
        self.client = app.test_client()

    async def ask(
        self, method: str, path: str, body: object = None, *, key: str | None = KEY, **headers: str
    ) -> tuple[int, Any]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            sent["Authorization"] = f"Bearer {key}"
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
        response = await self.client.open(path, method=method, headers=sent, data=data)
        raw = await response.get_data(as_text=False)
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        return response.status_code, json.loads(raw) if raw else None

    async def register(self, **members: Any) -> tuple[int, Any]:
        manifest = manifest_of()
        body = {"model_id": MODEL, "version": "1.0", "manifest": json.loads(encode_manifest(manifest)), **members}
        return await self.ask("POST", "/v1/admin/models/register", body)


@asynccontextmanager
async def open_site() -> AsyncGenerator[CatalogSite, None]:
    async with open_test_store("sqlite") as store:
        yield CatalogSite(store)


async def test_a_registered_model_is_public() -> None:
    async with open_site() as site:
        status, done = await site.register(display_name="Model", max_context_length=4096, capabilities=["tools"])
        assert (status, done["status"], done["model"]["id"]) == (200, "model_registered", MODEL)
        status, found = await site.ask("GET", "/v1/models/catalog", key=None)
        manifest = manifest_of()
        assert (status, found["cdn_url"], found["aliases"]) == (200, "https://cdn.test/models", [])
        (entry,) = found["models"]
        assert entry == done["model"]
        assert (entry["aggregate_sha256"], entry["weight_hash"]) == (manifest.aggregate_sha256,) * 2
        assert (entry["r2_prefix"], entry["s3_name"], entry["version"]) == (
            manifest.r2_prefix,
            manifest.r2_prefix,
            "1.0",
        )
        assert (entry["total_size_bytes"], entry["file_count"], entry["active"]) == (11, 3, True)
        assert site.headers["cache-control"] == "public, max-age=10"
        assert await site.ask("GET", f"/v1/models/catalog/{MODEL}", key=None) == (200, entry)
        status, whole = await site.ask("GET", f"/v1/models/catalog/manifest/{MODEL}", key=None)
        assert (status, whole) == (200, json.loads(encode_manifest(manifest)))
        assert (await site.ask("GET", f"/v1/models/catalog/manifest/{MODEL}?version=1.0", key=None))[0] == 200
        assert (await site.ask("GET", f"/v1/models/catalog/manifest/{MODEL}?version=2", key=None))[0] == 404
        assert (await site.ask("GET", "/v1/models/catalog/manifest/nobody", key=None))[0] == 404
        status, error = await site.ask("GET", "/v1/models/catalog/nobody", key=None)
        assert (status, error["error"]["code"]) == (404, "model_not_found")


async def test_an_unchanged_catalogue_is_not_sent_again() -> None:
    async with open_site() as site:
        await site.register()
        await site.ask("GET", "/v1/models/catalog", key=None)
        tag = site.headers["etag"]
        assert await site.ask("GET", "/v1/models/catalog", key=None, If_None_Match=tag) == (304, None)
        await site.ask("POST", "/v1/admin/models/set", {"model_id": "other"})
        assert (await site.ask("GET", "/v1/models/catalog", key=None, If_None_Match=tag))[0] == 200


async def test_types_filter_and_unknown_ones_are_refused() -> None:
    async with open_site() as site:
        await site.register()
        await site.ask("POST", "/v1/admin/models/set", {"model_id": "voice", "model_type": "audio"})
        _, found = await site.ask("GET", "/v1/models/catalog?type=audio", key=None)
        assert [one["id"] for one in found["models"]] == ["voice"]
        status, error = await site.ask("GET", "/v1/models/catalog?type=poems", key=None)
        assert (status, error["error"]["param"]) == (400, "type")


PUBLISHERS_ROUTES = [
    ("GET", "/v1/admin/models"),
    ("POST", "/v1/admin/models/register"),
    ("POST", "/v1/admin/models/set"),
    ("POST", "/v1/admin/models/promote"),
    ("POST", "/v1/admin/models/remove"),
    ("GET", "/v1/admin/models/aliases"),
    ("POST", "/v1/admin/models/aliases"),
    ("DELETE", "/v1/admin/models/aliases/x"),
]


@pytest.mark.parametrize(("key", "status"), [(None, 401), ("wrong-key", 403), ("sk-db-" + "a" * 64, 403)])
async def test_only_publishers_publish(key: str | None, status: int) -> None:
    async with open_site() as site:
        for method, path in PUBLISHERS_ROUTES:
            found, error = await site.ask(method, path, {"model_id": "x"}, key=key)
            assert found == status, path
            assert error["error"]["type"] in ("authentication_error", "forbidden")
        assert await site.world.audited() == []


async def test_guessing_keys_is_slowed_down() -> None:
    async with open_site() as site:
        statuses = [(await site.ask("GET", "/v1/admin/models", key=f"guess-{number}"))[0] for number in range(32)]
        assert statuses[:30] == [403] * 30
        assert statuses[30:] == [429] * 2
        assert "retry-after" in site.headers


async def test_the_admin_key_and_the_header_work_too() -> None:
    async with open_site() as site:
        body = {"model_id": "x"}
        assert (await site.ask("POST", "/v1/admin/models/set", body, key=ADMIN))[0] == 200
        assert (await site.ask("POST", "/v1/admin/models/set", body, key=None, X_Darkbloom_Publishing_Key=KEY))[
            0
        ] == 200
        assert [actor for actor, _, _ in await site.world.audited()] == ["publishing:admin", "publishing:publishing"]


async def test_the_life_of_a_model_and_an_alias() -> None:
    async with open_site() as site:
        await site.register()
        status, done = await site.ask("POST", "/v1/admin/models/set", {"model_id": MODEL, "family": "f"})
        assert (status, done["status"], done["model"]["family"]) == (200, "model_set", "f")
        status, done = await site.ask("POST", "/v1/admin/models/aliases", {"id": "chat", "desired_build": MODEL})
        assert (status, done["status"], done["alias"]["desired_build"]) == (200, "alias_saved", MODEL)
        _, found = await site.ask("GET", "/v1/models/catalog", key=None)
        assert found["aliases"] == [{"id": "chat", "display_name": "", "desired_build": MODEL, "previous_build": None}]
        status, error = await site.ask("POST", "/v1/admin/models/remove", {"model_id": MODEL})
        assert (status, error["error"]["code"]) == (409, "conflict")
        assert site.headers["x-should-retry"] == "false"
        status, found = await site.ask("GET", "/v1/admin/models/aliases")
        assert [one["id"] for one in found["aliases"]] == ["chat"]
        status, done = await site.ask("DELETE", "/v1/admin/models/aliases/chat")
        assert (status, done) == (200, {"status": "alias_deleted", "id": "chat"})
        assert (await site.ask("DELETE", "/v1/admin/models/aliases/chat"))[0] == 404
        status, done = await site.ask("POST", "/v1/admin/models/remove", {"model_id": MODEL})
        assert (status, done) == (200, {"status": "model_removed", "id": MODEL})
        status, found = await site.ask("GET", "/v1/admin/models")
        (entry,) = found["models"]
        assert (entry["status"], entry["active"]) == ("retired", False)
        assert [(one["version"], one["active"]) for one in entry["versions"]] == [("1.0", True)]
        assert (await site.ask("GET", "/v1/models/catalog", key=None))[1]["models"] == []
        assert (await site.ask("POST", "/v1/admin/models/promote", {"model_id": MODEL, "version": "9"}))[0] == 404


IMPOSSIBLE: list[object] = [
    b"",
    b"{",
    b"[]",
    b'{"model_id": 7}',
    {"model_id": "x", "family": 7},
    {"model_id": "x", "sha": "unknown member"},
    {"model_id": "x", "max_context_length": -1},
    {"model_id": "x", "min_ram_gb": 1e300},
    {"model_id": "x", "status": "secret"},
    {"model_id": "x", "capabilities": ["flying"]},
    {"model_id": "x", "display_name": "a\u0000b"},
    {"model_id": "x", "deprecation_date": "tomorrow"},
    {"model_id": "x", "runtime_parameters": {"a": [1]}},
    {"model_id": "../x"},
]


async def test_impossible_facts() -> None:
    async with open_site() as site:
        for body in IMPOSSIBLE:
            status, error = await site.ask("POST", "/v1/admin/models/set", body)
            assert (status, error["error"]["type"]) == (400, "invalid_request_error"), body
            assert "secret" not in error["error"]["message"]
        assert await site.world.audited() == []


async def test_a_body_has_a_bound() -> None:
    async with open_site() as site:
        status, error = await site.ask("POST", "/v1/admin/models/set", b" " * (2 * 1024 * 1024 + 1))
        assert (status, error["error"]["code"]) == (413, "payload_too_large")
