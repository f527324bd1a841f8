"""Requests of the Responses API as chat completion requests."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.api import ApiError
from protocol.api.responses import parse_responses_request
from tests.unit.protocol.api.responses.asked import body, lowered

IMAGE = "data:image/png;base64,AAAA"
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "x"}


def of_image(url: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "input_image", "image_url": url}]}


def refused(**members: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        parse_responses_request(body(**members))
    return caught.value


def messages(items: Any, **members: Any) -> Any:
    return lowered(input=items, **members)["messages"]


def test_text_and_instructions() -> None:
    assert messages("hi") == [{"role": "user", "content": "hi"}]
    assert messages("hi", instructions="be brief")[0] == {"role": "system", "content": "be brief"}
    assert len(messages("hi", instructions="")) == 1
    assert len(messages("hi", instructions=None)) == 1


def test_roles_and_text_parts() -> None:
    items = [
        {"role": "developer", "content": "d"},
        {"type": "message", "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "c", "annotations": []}]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"role": "user", "content": None},
    ]
    assert [(one["role"], one["content"]) for one in messages(items)] == [
        ("system", "d"),
        ("user", "a\nb"),
        ("assistant", "c"),
        ("assistant", "no"),
        ("user", ""),
    ]


def test_images_keep_their_place_among_the_text() -> None:
    content = [
        {"type": "input_text", "text": "what"},
        {"type": "input_image", "image_url": IMAGE, "detail": "low"},
        {"type": "image_url", "image_url": {"url": IMAGE}},
        {"type": "input_text", "text": "is it"},
    ]
    assert messages([{"role": "user", "content": content}])[0]["content"] == [
        {"type": "text", "text": "what"},
        {"type": "image_url", "image_url": {"url": IMAGE, "detail": "low"}},
        {"type": "image_url", "image_url": {"url": IMAGE}},
        {"type": "text", "text": "is it"},
    ]
    assert parse_responses_request(body(input=[{"role": "user", "content": content}])).chat.has_media


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("https://example.com/secret.png", "remote_media_disabled"),
        ("HTTP://example.com", "remote_media_disabled"),
        ("file:///etc/passwd", "media_invalid_scheme"),
    ],
)
def test_media_elsewhere_is_refused_without_repeating_where(url: str, code: str) -> None:
    error = refused(input=[{"role": "user", "content": [{"type": "input_image", "image_url": url}]}])
    assert (error.status, error.code, error.param) == (400, code, "input[0].content[0].image_url")
    assert "example" not in error.message
    assert "passwd" not in error.message


def test_tool_loop() -> None:
    items = [
        {"role": "user", "content": "weather"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
        {"type": "message", "role": "assistant", "content": "let me look"},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a":1}'},
        {"type": "function_call", "id": "c2", "name": "g"},
        {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "warm"}]},
        {"type": "function_call", "call_id": "c3", "name": "f", "arguments": "{}"},
    ]
    assert messages(items)[1:] == [
        {
            "role": "assistant",
            "content": "let me look",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
                {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "c2", "content": "warm"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "c3", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
    ]


def test_tools_are_nested_and_keep_strict_and_digits() -> None:
    tool = {"type": "function", "name": "f", "description": "d", "strict": True, "parameters": {"maximum": 2**53 + 1}}
    sent = lowered(tools=[tool, {"type": "function", "name": "g", "parameters": None}], tool_choice="required")
    assert sent["tools"] == [
        {
            "type": "function",
            "function": {"name": "f", "description": "d", "parameters": {"maximum": 2**53 + 1}, "strict": True},
        },
        {"type": "function", "function": {"name": "g"}},
    ]
    assert sent["tool_choice"] == "required"
    named = lowered(tools=[tool], tool_choice={"type": "function", "name": "f"})
    assert named["tool_choice"] == {"type": "function", "function": {"name": "f"}}


def test_allowed_tools_leaves_only_those() -> None:
    tools = [{"type": "function", "name": name} for name in "fgh"]
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]}
    sent = lowered(tools=tools, tool_choice=choice)
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["g"]
    assert sent["tool_choice"] == "required"


def test_text_format_becomes_a_response_format() -> None:
    schema = {"type": "object", "properties": {}}
    wanted = {"type": "json_schema", "name": "n", "schema": schema, "strict": True}
    assert lowered(text={"format": wanted, "verbosity": "low"})["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": schema, "strict": True},
    }
    assert lowered(text={"format": {"type": "json_object"}})["response_format"] == {"type": "json_object"}
    assert "response_format" not in lowered(text={"format": {"type": "text"}})
    assert "response_format" not in lowered(text={})


def test_reasoning_bound_and_log_probabilities() -> None:
    sent = lowered(reasoning={"effort": "high", "summary": "auto"}, max_output_tokens=50, top_logprobs=2)
    assert sent["reasoning"] == {"effort": "high", "summary": "auto"}
    assert sent["reasoning_effort"] == "high"
    assert (sent["logprobs"], sent["top_logprobs"]) == (True, 2)
    assert sent["max_tokens"] == 7
    assert "max_output_tokens" not in sent
    assert parse_responses_request(body(max_output_tokens=50)).chat.requested_max == 50
    assert lowered(include=["message.output_text.logprobs"])["logprobs"] is True
    assert "logprobs" not in lowered(include=["reasoning.encrypted_content"])


def test_other_members_pass_and_this_dialects_own_do_not() -> None:
    sent = lowered(top_k=5, seed=9, chat_template_kwargs={"x": 1}, store=True, truncation="auto", metadata={"a": "b"})
    assert (sent["top_k"], sent["seed"], sent["chat_template_kwargs"]) == (5, 9, {"x": 1})
    assert sent.keys() == {"model", "messages", "max_tokens", "stream", "top_k", "seed", "chat_template_kwargs"}
    exact = parse_responses_request(b'{"model":"m","input":"x","temperature":0.30000000000000000001}')
    assert b'"temperature":0.30000000000000000001' in exact.chat.provider_body("b", 1)


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"model": ""}, "model"),
        ({"max_output_tokens": -1}, "max_output_tokens"),
        ({"max_output_tokens": "5"}, "max_output_tokens"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": 7}, "input"),
        ({"input": [{"type": "reasoning", "summary": []}]}, "input"),
        ({"input": ["hi"]}, "input[0]"),
        ({"input": [{"type": "web_search_call"}]}, "input[0].type"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"input": [{"role": "wizard", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": ["user"], "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": 5}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [5]}]}, "input[0].content[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0].type"),
        ({"input": [{"role": "user", "content": [{"type": ["x"]}]}]}, "input[0].content[0].type"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
            "input[0].content[0].image_url",
        ),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call", "call_id": "c"}]}, "input[0].name"),
        ({"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": {}}]}, "input[0].arguments"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": 5}]}, "input[0].output"),
        ({"input": [{"role": "user", "content": "x"}, OUTPUT]}, "input[1].call_id"),
        ({"input": [OUTPUT, {"type": "function_call", "call_id": "c", "name": "f"}]}, "input[0].call_id"),
        ({"input": [{"role": "user", "content": "x"}, {"role": "tool", "content": "x"}]}, "input[1].tool_call_id"),
        ({"input": [{"role": "tool", "call_id": "c", "content": "x"}]}, "input[0].call_id"),
        ({"input": [of_image("data:text/plain;base64,AAAA")]}, "input[0].content[0].image_url"),
        ({"input": [of_image("data:image/png,AAAA")]}, "input[0].content[0].image_url"),
        ({"tools": [{"type": "function", "name": "no spaces"}]}, "tools[0].name"),
        (
            {
                "tools": [{"type": "function", "name": "f"}],
                "tool_choice": "required",
                "text": {"format": {"type": "json_object"}},
            },
            "text.format",
        ),
        ({"instructions": 7}, "instructions"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": {"id": "c"}}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"background": True}, "background"),
        ({"n": 2}, "n"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tool_choice": {"type": "mcp"}}, "tool_choice"),
        ({"tool_choice": 5}, "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools", "tools": [{"name": "f"}]}}, "tool_choice.tools"),
        ({"text": 5}, "text"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": ["text"]}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"reasoning": "high"}, "reasoning"),
        ({"reasoning": {"effort": 3}}, "reasoning"),
        ({"include": "all"}, "include"),
        ({"metadata": []}, "metadata"),
        ({"user": 5}, "user"),
        ({"temperature": 3}, "temperature"),
        ({"parallel_tool_calls": "yes"}, "parallel_tool_calls"),
    ],
)
def test_refusals_name_the_member(members: dict[str, Any], param: str) -> None:
    error = refused(**members)
    assert (error.status, error.error_type, error.param) == (400, "invalid_request_error", param)


def test_checks_come_in_the_public_order() -> None:
    asked: list[str] = []
    with pytest.raises(ApiError) as caught:
        parse_responses_request(body(max_output_tokens=-1, input=None), check_model=asked.append)
    assert (asked, caught.value.param) == (["m"], "max_output_tokens")
    with pytest.raises(ApiError) as too_large:
        parse_responses_request(b"{" * 100, limit_bytes=99)
    assert too_large.value.status == 413


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["user", "function", "message"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "role", "content", "text", "name", "tools", "format", "call_id", "output"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
MEMBERS = st.sampled_from(
    ["input", "instructions", "tools", "tool_choice", "text", "reasoning", "include", "metadata", "max_output_tokens"]
)


@given(st.dictionaries(MEMBERS, JSON, max_size=5))
def test_any_json_is_lowered_or_refused_with_a_sentence(members: dict[str, Any]) -> None:
    refusal: ApiError | None = None
    try:
        request = parse_responses_request(json.dumps({"model": "m"} | members).encode())
    except ApiError as error:
        refusal = error
    if refusal is None:
        assert json.loads(request.chat.provider_body("b", 1))["messages"]
    else:
        assert refusal.status == 400
        assert refusal.message.endswith(".")
