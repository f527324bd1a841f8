"""What a browser's page of another origin may read."""

from __future__ import annotations

from typing import Any

import pytest

from server.config import CoordinatorSettings
from server.serve.cors import Cors

APP = "https://app.example"
EVIL = "https://evil.example"


def scope(method: str, path: str, *, origin: str | None = None, wants: str | None = None) -> dict[str, Any]:
    headers = [(b"host", b"x")]
    if origin is not None:
        headers.append((b"origin", origin.encode()))
    if wants is not None:
        headers.append((b"access-control-request-method", wants.encode()))
    return {"type": "http", "method": method, "path": path, "headers": headers}


def names(cors: Cors, request: dict[str, Any]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in cors.headers(request)}


async def preflight(cors: Cors, request: dict[str, Any]) -> tuple[int, dict[str, str]] | None:
    events: list[dict[str, Any]] = []

    async def send(event: dict[str, Any]) -> None:
        events.append(event)

    if not await cors.answer_preflight(request, send, cors.headers(request)):
        assert not events
        return None
    head, body = events
    assert body == {"type": "http.response.body", "body": b"", "more_body": False}
    return head["status"], {name.decode(): value.decode() for name, value in head["headers"]}


@pytest.mark.parametrize("origin", [None, APP, EVIL, "http://localhost:3000", "null"])
def test_by_default_no_origin_is_permitted(origin: str | None) -> None:
    assert Cors(()).headers(scope("POST", "/v1/chat/completions", origin=origin)) == ()


def test_the_default_of_the_setting_is_no_origin() -> None:
    assert CoordinatorSettings().cors_origins == ()


@pytest.mark.parametrize("path", ["/v1/models", "/v1/chat/completions", "/metrics"])
def test_a_listed_origin_is_reflected_without_credentials(path: str) -> None:
    found = names(Cors((APP,)), scope("GET", path, origin=APP))
    assert found["access-control-allow-origin"] == APP
    assert found["vary"] == "Origin"
    assert {"X-Request-ID", "X-Timing", "Retry-After"} <= set(found["access-control-expose-headers"].split(", "))
    assert "access-control-allow-credentials" not in found


@pytest.mark.parametrize("origin", [None, EVIL, APP + "/", APP.upper(), "http://app.example", "http://localhost:3000"])
def test_any_other_origin_gets_only_the_hint_for_caches(origin: str | None) -> None:
    assert names(Cors((APP,)), scope("GET", "/v1/models", origin=origin)) == {"vary": "Origin"}


@pytest.mark.parametrize("path", ["/health", "/readyz", "/v1/models/capacity"])
@pytest.mark.parametrize("origin", [None, APP, EVIL])
def test_public_reads_are_for_everybody_without_credentials(path: str, origin: str | None) -> None:
    for cors in (Cors(()), Cors((APP,))):
        found = names(cors, scope("GET", path, origin=origin))
        assert found["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in found
        assert "vary" not in found


def test_writing_to_a_public_path_is_not_for_everybody() -> None:
    assert Cors(()).headers(scope("POST", "/health", origin=EVIL)) == ()


async def test_preflight_of_a_listed_origin() -> None:
    found = await preflight(Cors((APP,)), scope("OPTIONS", "/v1/chat/completions", origin=APP, wants="POST"))
    assert found is not None
    status, headers = found
    assert status == 204
    assert headers["access-control-allow-origin"] == APP
    assert {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} == set(
        headers["access-control-allow-methods"].split(", ")
    )
    allowed = set(headers["access-control-allow-headers"].split(", "))
    assert {
        "Content-Type",
        "Authorization",
        "X-Darkbloom-Metadata-Details",
        "X-Darkbloom-Route",
        "X-Request-ID",
        "x-api-key",
        "anthropic-version",
        "anthropic-beta",
    } <= allowed
    assert "access-control-allow-credentials" not in headers


async def test_preflight_of_a_public_read_permits_reading_alone() -> None:
    found = await preflight(Cors(()), scope("OPTIONS", "/health", origin=EVIL, wants="GET"))
    assert found is not None
    assert found[0] == 204
    assert found[1]["access-control-allow-origin"] == "*"
    assert found[1]["access-control-allow-methods"] == "GET, HEAD"


@pytest.mark.parametrize(
    ("origins", "origin", "wants"),
    [((), APP, "POST"), ((APP,), EVIL, "POST"), ((APP,), None, "POST"), ((APP,), APP, None)],
)
async def test_any_other_options_is_no_preflight_that_we_grant(
    origins: tuple[str, ...], origin: str | None, wants: str | None
) -> None:
    request = scope("OPTIONS", "/v1/chat/completions", origin=origin, wants=wants)
    assert await preflight(Cors(origins), request) is None


@pytest.mark.parametrize("text", ["*", "app.example", "https://app.example/", "https://*.example", "ftp://x", "null"])
def test_what_is_no_origin_is_a_problem_at_the_start(text: str) -> None:
    problems = CoordinatorSettings(cors_origins=(text,)).check()
    assert [problem for problem in problems if "DARKBLOOM_CORS_ORIGINS" in problem and repr(text) in problem]


@pytest.mark.parametrize("text", ["https://app.example", "http://localhost:3000", "https://[::1]:8443"])
def test_origins_are_accepted(text: str) -> None:
    problems = CoordinatorSettings(cors_origins=(text,)).check()
    assert not [problem for problem in problems if "CORS" in problem]
