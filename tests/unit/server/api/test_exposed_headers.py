"""Whatever header an inference answer or refusal carries, a page of a permitted origin can read it."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from server.accounts import Identity
from tests.unit.server.api.site import MESSAGES, open_site
from tests.unit.server.relay.relay_world import MODEL, failing, saying

ORIGIN = "https://console.test"
READABLE_ANYWAY = {"cache-control", "content-language", "content-length", "content-type", "expires", "last-modified"}
PROMPTS: dict[str, tuple[str, object]] = {"/v1/responses": ("input", "x"), "/v1/completions": ("prompt", "x")}
NOT_FOR_PAGES = {"vary", "x-accel-buffering", "date", "server", "connection"}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/completions"])
@pytest.mark.parametrize("kind", ["stream", "whole", "refused", "limited"])
async def test_every_header_is_exposed(path: str, kind: str, autojump_clock: MockClock) -> None:
    async with open_site(cors_origins=(ORIGIN,)) as site:
        full = failing(failure_code="capacity", error_reason="queue_full")
        site.world.provider("p", full if kind == "refused" else saying("x"))
        site.keys.special["k"] = Identity(account_id="a", key_id="k", rpm_limit=1)
        member, prompt = PROMPTS.get(path, ("messages", MESSAGES))
        sent = {"model": MODEL, member: prompt, "stream": kind == "stream"}
        if kind == "limited":
            await site.ask("POST", path, body=b"", key="k")
        status, headers, _ = await site.ask("POST", path, body=sent, key="k", Origin=ORIGIN)
        assert status == (200 if kind in ("stream", "whole") else 429)
        exposed = {name.strip().lower() for name in headers["access-control-expose-headers"].split(",")}
        shown = {name for name in headers if not name.startswith("access-control-")}
        assert shown - exposed - READABLE_ANYWAY <= NOT_FOR_PAGES
        assert "x-ratelimit-limit-requests" in shown
        assert ("anthropic-ratelimit-requests-limit" in shown) == (path == "/v1/messages")
