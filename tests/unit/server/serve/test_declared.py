"""The OpenAPI document and the coordinator that serves it agree: every route, and every answer that can be had here."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs

from protocol.manifest import Manifest, ManifestFile
from protocol.settings import Secret
from server.api.declared import FAMILIES, OPERATIONS
from server.api.declared.models import ManifestAnswer, ManifestFileAnswer, ModelCapacityRow
from server.openapi import build_document
from server.registry import ModelCapacity
from server.serve import Coordinator
from server.serve.endpoints import Endpoints
from tests.testbed.sealed_client import MNEMONIC

from .conftest import OpenCoordinator, ask, get

API_KEY = "sk-db-" + "a" * 64
ADMIN_KEY = "admin-key-" + "a" * 30
NOT_HTTP = {("GET", "/ws/provider")}


def routes(coordinator: Coordinator) -> set[tuple[str, str]]:
    """Every (method, path) that is served, as OpenAPI writes paths."""
    found: set[tuple[str, str]] = set()
    for rule in coordinator.app.url_map.iter_rules():
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        found |= {(method, path) for method in (rule.methods or ()) if method not in ("HEAD", "OPTIONS")}
    layers: Any = coordinator.app.asgi_app
    endpoints = layers._app
    assert isinstance(endpoints, Endpoints)
    return found | {("POST", path) for path in endpoints._routes}


async def test_every_route_is_declared_and_every_declared_route_is_served(
    running: OpenCoordinator, tmp_path: Path
) -> None:
    async with running(state_export_enabled=True, state_export_root=tmp_path) as (coordinator, _):
        served = routes(coordinator)
    declared = [(one.method, one.path) for one in OPERATIONS]
    assert len(declared) == len(set(declared))
    assert set(declared) - served == set(), "declared, but not served"
    assert served - set(declared) - NOT_HTTP == set(), "served, but not declared: add it to server/api/declared/"


def test_the_document_is_one_of_openapi() -> None:
    document = build_document(OPERATIONS, version="1.2.3", families=FAMILIES)
    assert document["openapi"] == "3.1.0"
    assert document["info"]["version"] == "1.2.3"
    assert [tag["name"] for tag in document["tags"]] == list(FAMILIES)
    names = [one["operationId"] for methods in document["paths"].values() for one in methods.values()]
    assert len(names) == len(set(names)) == len(OPERATIONS)
    for reference in re.findall(r'"\$ref": "#/components/schemas/([^"]+)"', json.dumps(document)):
        assert reference in document["components"]["schemas"]
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)
    used = {family for one in OPERATIONS for family in [one.family]}
    assert used == set(FAMILIES)


def test_rows_that_are_structs_are_declared_member_by_member() -> None:
    assert ModelCapacityRow.__struct_fields__ == ModelCapacity.__struct_fields__
    assert set(ManifestAnswer.__struct_fields__) == set(Manifest.__struct_fields__)
    assert set(ManifestFileAnswer.__struct_fields__) == set(ManifestFile.__struct_fields__)


def strict(document: dict[str, Any]) -> dict[str, Any]:
    """The document with objects that have their declared members only."""
    closed = copy.deepcopy(document)
    for schema in closed["components"]["schemas"].values():
        if "properties" in schema:
            schema["additionalProperties"] = False
    return closed


class Checker:
    """Checks answers against what is declared of them, member by member."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = strict(document)

    def check(self, method: str, path: str, status: int, content_type: str, body: bytes) -> None:
        responses = self._document["paths"][path][method.lower()]["responses"]
        assert str(status) in responses, f"{method} {path} answers {status}, which is not declared"
        content = responses[str(status)].get("content", {})
        media = content_type.partition(";")[0].strip()
        assert media in content or not body, f"{method} {path} answers {media}, which is not declared"
        if media == "application/json":
            schema = {**content[media]["schema"], "components": self._document["components"]}
            jsonschema_rs.validate(schema, json.loads(body))


SAMPLES = {
    "{model}": "nobody/has-this",
    "{key_id}": "key_0",
    "{who}": "nobody",
    "{session_id}": "0" * 16,
    "{token_id}": "t",
    "{provider_id}": "p",
    "{request_id}": "r",
    "{alias}": "nobody/has-this",
    "{file}": "reference.css",
}
READS = sorted({one.path for one in OPERATIONS if one.method == "GET" and one.path != "/v1/admin/state-export"})


async def test_every_read_answers_as_declared(running: OpenCoordinator) -> None:
    settings = {
        "api_keys": (Secret(API_KEY),),
        "admin_keys": (Secret(ADMIN_KEY),),
        "coordinator_mnemonic": Secret(MNEMONIC),
    }
    async with running(**settings) as (_, port):
        document = json.loads((await ask(port, get("/openapi.json")))[2])
        assert document["paths"].keys() == {one.path for one in OPERATIONS}
        checker = Checker(document)
        for bearer in (None, API_KEY, ADMIN_KEY):
            headers = [] if bearer is None else [f"Authorization: Bearer {bearer}"]
            for path in READS:
                asked = path
                for name, value in SAMPLES.items():
                    asked = asked.replace(name, value)
                status, found, body = await ask(port, get(asked, *headers))
                assert status != 500, (path, body)
                checker.check("GET", path, status, found.get("content-type", ""), body)
