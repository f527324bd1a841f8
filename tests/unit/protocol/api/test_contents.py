"""Contents of messages: what no model could read names its place; refusals of the history are text."""

from __future__ import annotations

import json
from typing import Any

import pytest

from protocol.api import ApiError, parse_chat_request

USER: dict[str, Any] = {"role": "user", "content": "hi"}
CALLS = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]


def body(*messages: Any) -> bytes:
    return json.dumps({"model": "m", "messages": messages}).encode()


def sent(*messages: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(parse_chat_request(body(*messages)).provider_body("b", 9))["messages"]
    return found


def of_user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "user", "content": None}, "messages[1].content"),
        ({"role": "user"}, "messages[1].content"),
        ({"role": "system", "content": 7}, "messages[1].content"),
        ({"role": "user", "content": {"type": "text", "text": "x"}}, "messages[1].content"),
        ({"role": "assistant", "content": None}, "messages[1].content"),
        ({"role": "assistant", "content": None, "tool_calls": []}, "messages[1].content"),
        ({"role": "assistant", "content": None, "refusal": ""}, "messages[1].content"),
        ({"role": "assistant", "content": "x", "refusal": 7}, "messages[1].refusal"),
        ({"role": "tool", "tool_call_id": "c", "content": None}, "messages[1].content"),
        (of_user("plain"), "messages[1].content[0]"),
        (of_user({"type": "text", "text": "x"}, {"type": "text"}), "messages[1].content[1].text"),
        (of_user({"type": "text", "text": None}), "messages[1].content[0].text"),
        (of_user({"text": "x"}), "messages[1].content[0].type"),
        (of_user({"type": ["text"], "text": "x"}), "messages[1].content[0].type"),
        (of_user({"type": "thinking", "thinking": "x"}), "messages[1].content[0].type"),
        (of_user({"type": "refusal"}), "messages[1].content[0].refusal"),
    ],
)
def test_what_cannot_be_read_is_400_and_names_its_place(message: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_chat_request(body(USER, message))
    assert (caught.value.status, caught.value.param) == (400, param)
    assert param in caught.value.message


@pytest.mark.parametrize(
    ("message", "content"),
    [
        ({"content": [{"type": "refusal", "refusal": "I will not."}]}, [{"type": "text", "text": "I will not."}]),
        (
            {"content": [{"type": "text", "text": "Well:"}, {"type": "refusal", "refusal": "no"}]},
            [{"type": "text", "text": "Well:"}, {"type": "text", "text": "no"}],
        ),
        ({"content": None, "refusal": "no"}, "no"),
        ({"refusal": "no"}, "no"),
        ({"content": "", "refusal": "no"}, "no"),
        ({"content": "said", "refusal": "no"}, "said"),
        ({"content": None, "reasoning_content": "hm"}, ""),
    ],
)
def test_a_refusal_in_the_history_is_text(message: dict[str, Any], content: object) -> None:
    assert sent(USER, {"role": "assistant"} | message, USER)[1]["content"] == content


def test_a_message_as_the_sdk_gives_it_back_is_accepted() -> None:
    called = {"role": "assistant", "content": None, "refusal": None, "tool_calls": CALLS, "annotations": []}
    said = {"role": "assistant", "content": "x", "refusal": None, "tool_calls": None, "function_call": None}
    result = {"role": "tool", "tool_call_id": "c", "content": "42"}
    assert sent(USER, called, result, said) == [USER, called, result, said]


def test_what_is_beside_a_refusal_keeps_its_digits() -> None:
    raw = (
        b'{"model":"m","messages":[{"role":"user","content":"x","n":1.50e+3},'
        b'{"role":"assistant","content":null,"refusal":"no","seed":9007199254740993}]}'
    )
    lowered = parse_chat_request(raw).provider_body("b", 9)
    assert b'{"role":"user","content":"x","n":1.50e+3}' in lowered
    assert b'{"role":"assistant","content":"no","seed":9007199254740993}' in lowered


@pytest.mark.parametrize("stray", [False, 0, [], {"a": 1}, "no"])
def test_a_member_named_refusal_elsewhere_is_no_content(stray: object) -> None:
    """Only what was checked becomes text: a part of another type keeps its own, and an empty message stays empty."""
    refusing = {"role": "assistant", "content": None, "refusal": "no"}
    parts = [{"type": "text", "text": "a", "refusal": stray}]
    assert sent(of_user(*parts), refusing, USER)[0]["content"] == parts
    if not stray:
        empty = {"role": "assistant", "content": "", "refusal": stray}
        assert sent(empty, refusing, USER)[0]["content"] == ""
