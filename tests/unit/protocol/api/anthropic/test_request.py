"""Messages bodies lowered to chat, and what is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.api.anthropic import lower_messages
from protocol.api.errors import ApiError

USER = [{"role": "user", "content": "hello"}]
PIXEL = base64.b64encode(b"\x89PNG").decode()
TOOL = {"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}}}}
FORMAT = {"type": "json_schema", "schema": {}}
CALLED = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}]}


def lowered(**members: Any) -> dict[str, Any]:
    """The provider's body."""
    body = json.dumps({"model": "m", "max_tokens": 7, "messages": USER} | members).encode()
    found: dict[str, Any] = json.loads(lower_messages(body).chat.provider_body("m", 7))
    return found


def conversation(*messages: Any, **members: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = lowered(messages=list(messages), **members)["messages"]
    return found


def refused(**members: Any) -> ApiError:
    with pytest.raises(ApiError) as raised:
        lowered(**members)
    assert raised.value.status == 400
    assert raised.value.error_type == "invalid_request_error"
    return raised.value


def image(data: str = PIXEL, media_type: str = "image/png") -> dict[str, Any]:
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}


def result(**members: Any) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1"} | members]}


def test_plain_body() -> None:
    assert lowered() == {"model": "m", "messages": USER, "stream": False, "max_tokens": 7}


def test_request_facts() -> None:
    body = {"model": "m", "max_tokens": 7, "messages": USER, "stream": True, "stop_sequences": ["E"], "tools": [TOOL]}
    found = lower_messages(json.dumps(body).encode())
    chat = found.chat
    assert (chat.public_model, chat.stream, chat.requested_max) == ("m", True, 7)
    assert (chat.has_tools, chat.forces_tool, chat.has_media, chat.asked_for_stop) == (True, False, False, True)
    assert found.stop_sequences == ("E",)


def test_bound_may_be_absent() -> None:
    assert lower_messages(json.dumps({"model": "m", "messages": USER}).encode()).chat.requested_max is None


@pytest.mark.parametrize(
    ("system", "text"),
    [
        ("Be kind.", "Be kind."),
        ([{"type": "text", "text": "a", "cache_control": {}}, {"type": "text", "text": "b"}], "a\nb"),
    ],
)
def test_system_comes_first(system: object, text: str) -> None:
    assert conversation(*USER, system=system) == [{"role": "system", "content": text}, *USER]


@pytest.mark.parametrize("system", ["", [], None])
def test_empty_system_is_left_out(system: object) -> None:
    assert conversation(*USER, system=system) == USER


def test_text_blocks_are_joined_and_a_system_turn_stays_where_it_is() -> None:
    blocks = [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}}]
    assert conversation({"role": "user", "content": blocks}, {"role": "system", "content": "s"}, *USER) == [
        {"role": "user", "content": "ab"},
        {"role": "system", "content": "s"},
        *USER,
    ]


def test_images_and_text_documents_keep_their_place() -> None:
    document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "file"}}
    blocks = [{"type": "text", "text": "see"}, image(), document]
    (message,) = conversation({"role": "user", "content": blocks})
    assert message["content"] == [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
        {"type": "text", "text": "file"},
    ]


def test_assistant_blocks() -> None:
    turn = {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "redacted_thinking", "data": "x"},
            {"type": "text", "text": "I call."},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 9007199254740993}},
            {"type": "tool_use", "id": "t2", "name": "g"},
        ],
    }
    assert conversation(*USER, turn)[1] == {
        "role": "assistant",
        "content": "I call.",
        "reasoning_content": "hm",
        "tool_calls": [
            {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a":9007199254740993}'}},
            {"id": "t2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ],
    }


def test_tool_results_become_tool_turns_in_order() -> None:
    blocks = [
        {"type": "text", "text": "first"},
        {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "4"}, image()]},
        {"type": "text", "text": "last"},
    ]
    assert conversation(*USER, CALLED, {"role": "user", "content": blocks})[2:] == [
        {"role": "user", "content": "first"},
        {"role": "tool", "tool_call_id": "t1", "content": "4"},
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
                {"type": "text", "text": "last"},
            ],
        },
    ]


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"content": "4"}, "4"),
        ({}, ""),
        ({"is_error": True}, "error"),
        ({"is_error": True, "content": "no such file"}, "no such file"),
        ({"is_error": False, "content": []}, ""),
    ],
)
def test_contents_of_tool_results(members: dict[str, Any], text: str) -> None:
    assert conversation(*USER, CALLED, result(**members))[2:] == [
        {"role": "tool", "tool_call_id": "t1", "content": text}
    ]


def test_tools_and_choice() -> None:
    tools = [TOOL | {"cache_control": {}, "type": "custom", "strict": True}, {"name": "g"}]
    choice = {"type": "tool", "name": "g", "disable_parallel_tool_use": True}
    found = lowered(tools=tools, tool_choice=choice)
    assert found["tools"] == [
        {
            "type": "function",
            "function": {"name": "f", "description": "d", "parameters": TOOL["input_schema"], "strict": True},
        },
        {"type": "function", "function": {"name": "g", "description": "", "parameters": {"type": "object"}}},
    ]
    assert found["tool_choice"] == {"type": "function", "function": {"name": "g"}}
    assert found["parallel_tool_calls"] is False


@pytest.mark.parametrize(("kind", "chat"), [("auto", "auto"), ("any", "required"), ("none", None)])
def test_choices_without_a_name(kind: str, chat: str | None) -> None:
    found = lowered(tools=[TOOL], tool_choice={"type": kind})
    assert found.get("tool_choice") == chat
    assert ("tools" in found) == (chat is not None)
    assert "parallel_tool_calls" not in found


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"stop_sequences": ["A", "B"]}, {"stop": ["A", "B"]}),
        ({"temperature": 0.25, "top_p": 0.5, "top_k": 3}, {"temperature": 0.25, "top_p": 0.5, "top_k": 3}),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2048}},
            {"reasoning": {"enabled": True, "max_tokens": 2048}},
        ),
        ({"thinking": {"type": "adaptive"}}, {"reasoning": {"enabled": True}}),
        ({"thinking": {"type": "disabled"}}, {"reasoning": {"enabled": False}}),
        ({"output_config": {"effort": "max"}}, {"reasoning_effort": "high"}),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "response", "schema": {"type": "object"}, "strict": True},
                }
            },
        ),
        ({"metadata": {"user_id": "u"}, "service_tier": "auto", "unknown": 1}, {}),
    ],
)
def test_options(members: dict[str, Any], expected: dict[str, Any]) -> None:
    plain = lowered()
    assert {name: value for name, value in lowered(**members).items() if name not in plain} == expected


def test_numbers_keep_every_digit() -> None:
    schema = b'{"type":"object","properties":{"a":{"maximum":9007199254740993,"multipleOf":0.10}}}'
    body = b'{"model":"m","max_tokens":1,"temperature":0.70,"messages":[{"role":"user","content":"x"}],'
    body += b'"tools":[{"name":"f","input_schema":' + schema + b"}]}"
    sent = lower_messages(body).chat.provider_body("m", 1)
    assert schema.replace(b"0.10}", b'0.10,"type":"number"}') in sent
    assert b'"temperature":0.70' in sent


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"model": None}, "model"),
        ({"model": " "}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": ["x"]}, "messages[0]"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{}]}]}, "messages[0].content[0]"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "u"}}]}]},
            "messages[0].content[0].source.type",
        ),
        (
            {"messages": [{"role": "user", "content": [image(media_type="image/bmp")]}]},
            "messages[0].content[0].source.media_type",
        ),
        ({"messages": [{"role": "user", "content": [image(data="é")]}]}, "messages[0].content[0].source.data"),
        ({"messages": [{"role": "user", "content": [image(data="")]}]}, "messages[0].content[0].source.data"),
        (
            {"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "base64"}}]}]},
            "messages[0].content[0].source.type",
        ),
        ({"messages": [*USER, result()]}, "messages[1].content[0].tool_use_id"),
        ({"messages": [*USER, CALLED, result(is_error="yes")]}, "messages[2].content[0].is_error"),
        ({"messages": [*USER, CALLED, result(content=[{"type": "x"}])]}, "messages[2].content[0].content[0]"),
        ({"messages": [*USER, CALLED, CALLED]}, "messages[2].content[0].id"),
        (
            {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "", "name": "f"}]}]},
            "messages[0].content[0].id",
        ),
        (
            {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": ""}]}]},
            "messages[0].content[0].name",
        ),
        (
            {
                "messages": [
                    {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": 1}]}
                ]
            },
            "messages[0].content[0].input",
        ),
        ({"messages": [{"role": "assistant", "content": [image()]}]}, "messages[0].content[0]"),
        ({"system": 7}, "system"),
        ({"system": [image()]}, "system[0]"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_k": 1.5}, "top_k"),
        ({"metadata": "x"}, "metadata"),
        ({"stop_sequences": "END"}, "stop_sequences"),
        ({"stop_sequences": ["a", 1]}, "stop_sequences[1]"),
        ({"stop_sequences": [""]}, "stop_sequences[0]"),
        ({"tools": [TOOL], "tool_choice": {"type": "any"}, "stop_sequences": list("abcde")}, "stop_sequences"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "any"}, "output_config": {"format": FORMAT}},
            "output_config.format",
        ),
        ({"tools": {}}, "tools"),
        ({"tools": [{"name": f"f{n}"} for n in range(65)]}, "tools"),
        ({"tools": ["x"]}, "tools[0]"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"name": "no spaces"}]}, "tools[0].name"),
        ({"tools": [TOOL, TOOL]}, "tools[1].name"),
        ({"tools": [TOOL | {"description": 1}]}, "tools[0].description"),
        ({"tools": [TOOL | {"input_schema": "x"}]}, "tools[0].input_schema"),
        ({"tools": [TOOL | {"strict": "x"}]}, "tools[0].strict"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}}, "tool_choice.name"),
        ({"tools": [TOOL], "tool_choice": {"type": "required"}}, "tool_choice.type"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "auto", "disable_parallel_tool_use": 1}},
            "tool_choice.disable_parallel_tool_use",
        ),
        ({"thinking": True}, "thinking"),
        ({"thinking": {"type": "on"}}, "thinking.type"),
        ({"thinking": {"type": "enabled", "budget_tokens": 0}}, "thinking.budget_tokens"),
        ({"output_config": "x"}, "output_config"),
        ({"output_config": {"effort": "huge"}}, "output_config.effort"),
        ({"output_config": {"format": {"type": "text"}}}, "output_config.format.type"),
        ({"output_format": {"type": "json_schema"}}, "output_format.schema"),
        ({"mcp_servers": [{}]}, "mcp_servers"),
        ({"container": "c"}, "container"),
    ],
)
def test_refusals_name_the_member(members: dict[str, Any], param: str) -> None:
    error = refused(**members)
    assert error.param == param
    assert param in error.message or param in ("model", "messages")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model":"m"} {}', b'{"model":"\xff"}', b'"x"'])
def test_bodies_that_are_no_object(body: bytes) -> None:
    with pytest.raises(ApiError) as raised:
        lower_messages(body)
    assert raised.value.status == 400


def test_body_above_the_cap_and_model_outside_the_keys_list() -> None:
    with pytest.raises(ApiError) as raised:
        lower_messages(b"{}", limit_bytes=1)
    assert raised.value.status == 413

    def deny(model: str) -> None:
        raise ApiError(403, "model_not_allowed", model)

    with pytest.raises(ApiError) as denied:
        lower_messages(b'{"model":"m","messages":7}', check_model=deny)
    assert denied.value.status == 403


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "text", "content", "role", "id", "name", "source", "x"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)
_MEMBERS = st.sampled_from(
    [
        "messages",
        "system",
        "tools",
        "tool_choice",
        "thinking",
        "stop_sequences",
        "max_tokens",
        "output_config",
        "stream",
    ]
)


@given(st.dictionaries(_MEMBERS, _JSON, max_size=4))
def test_any_json_is_lowered_or_refused_with_a_client_error(members: dict[str, Any]) -> None:
    body = msgspec.json.encode({"model": "m", "messages": USER} | members)
    status, sent = 400, b""
    try:
        sent = lower_messages(body).chat.provider_body("m", 1)
    except ApiError as error:
        status = error.status
    assert status == 400
    assert not sent or json.loads(sent)["messages"]
