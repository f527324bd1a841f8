"""Random JSON at every inference endpoint: always an answer or a well-formed error, never a crash, never a hang."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.unit.server.api.site import Site, open_site
from tests.unit.server.relay.relay_world import MODEL, saying

PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/v1/messages/count_tokens")
TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 422: "invalid_request_error", 429: "rate_limit_error",
}  # fmt: skip

NAMES = (
    "model", "messages", "input", "prompt", "stream", "stream_options", "include_usage", "max_tokens",
    "max_completion_tokens", "max_output_tokens", "temperature", "top_p", "top_k", "min_p", "seed", "stop",
    "stop_sequences", "n", "tools", "tool_choice", "functions", "function_call", "function", "parallel_tool_calls",
    "response_format", "json_schema", "schema", "text", "format", "reasoning", "reasoning_effort", "effort", "thinking",
    "budget_tokens", "logprobs", "top_logprobs", "logit_bias", "metadata", "system", "instructions", "role", "content",
    "type", "name", "parameters", "input_schema", "properties", "items", "$ref", "$defs", "anyOf", "image_url", "url",
    "source", "data", "media_type", "tool_calls", "tool_call_id", "call_id", "arguments", "id", "output", "include",
    "previous_response_id", "background", "echo", "suffix", "best_of", "user", "provider", "chat_template_kwargs",
    "tool_use_id", "is_error", "disable_parallel_tool_use", "output_config", "mcp_servers", "container",
)  # fmt: skip
WORDS = (
    MODEL, "user", "assistant", "system", "tool", "function", "developer", "text", "image_url", "image", "tool_use",
    "tool_result", "thinking", "document", "base64", "auto", "none", "required", "any", "message", "function_call",
    "function_call_output", "input_text", "input_image", "json_object", "json_schema", "object", "string", "array",
    "data:image/png;base64,AA", "http://127.0.0.1/", "#/$defs/a", "f", "", "é🌍\u2028", "\x00", "{}",
)  # fmt: skip

atoms = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([10**30, 2**63, -(2**63) - 1, 0.5, 1e300, -0.0])
    | st.sampled_from(WORDS)
)
values = st.recursive(
    atoms,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=14,
)
turns = st.fixed_dictionaries({"role": st.sampled_from(("user", "assistant", "tool"))}, optional={"content": values})
SAID = {"model": MODEL, "messages": [{"role": "user", "content": "x"}], "prompt": "x", "input": "x"}
bodies = values | st.dictionaries(st.sampled_from(NAMES), values, max_size=5).map(
    lambda members: SAID | members
) | st.fixed_dictionaries(
    {"model": st.just(MODEL), "messages": st.lists(turns, max_size=3), "input": st.lists(values, max_size=3)},
    optional=dict.fromkeys(("tools", "tool_choice", "stream", "system", "stop", "reasoning", "text"), values),
)  # fmt: skip


async def ask(site: Site, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
    with trio.fail_after(60):
        return await site.ask("POST", path, body=body)


def check(path: str, status: int, headers: dict[str, str], body: bytes) -> None:
    if status == 200:
        return
    assert 400 <= status < 500, (status, body)
    assert headers["content-type"] == "application/json"
    assert b"Traceback" not in body
    assert b".py" not in body
    found: dict[str, Any] = json.loads(body)
    error = found["error"]
    assert isinstance(error["message"], str)
    assert error["message"].endswith((".", "…"))
    assert isinstance(error["code"], str)
    if path.startswith("/v1/messages"):
        assert found.keys() == {"type", "error", "request_id"}
        assert found["type"] == "error"
        assert error["type"] == TYPES[status]
    else:
        assert found.keys() == {"error"}
        assert isinstance(error["type"], str)
    assert isinstance(error.get("param", ""), str)


# One coordinator for several bodies: it costs more than they do.
SEVERAL = 8
_EXAMPLES = settings(max_examples=settings().max_examples // SEVERAL)


@pytest.mark.parametrize("path", PATHS)
@_EXAMPLES
@given(several=st.lists(bodies, min_size=SEVERAL, max_size=SEVERAL))
async def test_any_json_is_answered(path: str, several: list[object], autojump_clock: MockClock) -> None:
    async with open_site(max_body_bytes=65536) as site:
        site.world.provider("p", saying("fine"))
        for body in several:
            check(path, *await ask(site, path, json.dumps(body).encode()))
            assert site.world.reserved() == 0


@_EXAMPLES
@given(several=st.lists(st.binary(max_size=60), min_size=SEVERAL, max_size=SEVERAL))
async def test_any_bytes_are_answered(several: list[bytes], autojump_clock: MockClock) -> None:
    async with open_site() as site:
        for body in several:
            for path in PATHS:
                status, headers, found = await ask(site, path, body)
                check(path, status, headers, found)
                assert status == 400
