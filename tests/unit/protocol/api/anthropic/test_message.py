"""Messages in one piece."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from protocol.api import UsageReport
from protocol.api.anthropic import MessagesDialect
from protocol.api.anthropic.message import MessageAnswer, tool_input
from protocol.api.shapes import AnswerFacts
from tests.unit.protocol.api.anthropic.sdk_reader import read_answer, shown

FACTS = AnswerFacts(job_id="a-b-c", public_model="p", created=5, requested_max=100)
USAGE = UsageReport(prompt_tokens=10, completion_tokens=4, cached_tokens=6)


def answer(*, split_think: bool = False) -> MessageAnswer:
    return MessagesDialect(stop_sequences=("END",)).new_answer(msgspec.structs.replace(FACTS, split_think=split_think))


def fed(target: MessageAnswer, delta: dict[str, Any], finish: str | None = None) -> None:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    target.feed(b"data: " + msgspec.json.encode({"choices": [choice]}))


def tool_call(arguments: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": arguments}}]}


def test_golden_message() -> None:
    target = answer()
    fed(target, {"reasoning_content": "hm", "content": "Hi"})
    fed(target, tool_call('{"n":9007199254740993}'), "tool_calls")
    found = target.finish(USAGE, response_hash="h", se_signature="s", attachments={"darkbloom": {"receipt": "r"}})
    assert msgspec.json.decode(msgspec.json.encode(found)) == {
        "id": "msg_abc",
        "type": "message",
        "role": "assistant",
        "model": "p",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "darkbloom-abc"},
            {"type": "text", "text": "Hi"},
            {"type": "tool_use", "id": "c", "name": "f", "input": {"n": 9007199254740993}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 4,
            "output_tokens": 4,
            "cache_read_input_tokens": 6,
            "output_tokens_details": {"thinking_tokens": 4},
        },
        "se_signature": "s",
        "response_hash": "h",
        "darkbloom": {"receipt": "r"},
    }
    message = read_answer(found)
    assert shown(message) == [("thinking", "hm"), ("text", "Hi"), ("tool_use", "f", {"n": 9007199254740993})]


@pytest.mark.parametrize(
    ("reported", "matched", "reason", "sequence"),
    [
        ("stop", None, "end_turn", None),
        ("stop", "END", "stop_sequence", "END"),
        ("stop", "never listed", "end_turn", None),
        ("length", None, "max_tokens", None),
        ("content_filter", None, "refusal", None),
    ],
)
def test_stop_reasons(reported: str, matched: str | None, reason: str, sequence: str | None) -> None:
    target = answer()
    fed(target, {"content": "x"}, reported)
    found = target.finish(USAGE, stop_sequence=matched)
    assert (found["stop_reason"], found["stop_sequence"]) == (reason, sequence)


def test_empty_answer_has_no_blocks() -> None:
    assert answer().finish(USAGE)["content"] == []


def test_think_blocks_become_thinking() -> None:
    target = answer(split_think=True)
    fed(target, {"content": "<think>deep</think>hi"})
    assert shown(read_answer(target.finish(USAGE))) == [("thinking", "deep"), ("text", "hi")]


def test_spliced_runs_join_the_text() -> None:
    target = answer()
    fed(target, {"content": "a"})
    target.add_run(b'b\\"', 1, 2)
    assert shown(read_answer(target.finish(USAGE))) == [("text", 'ab"')]


@pytest.mark.parametrize("arguments", ["", "[1]", "{", '{"a":1} x', "null", '{"a":"\\ud800"}'])
def test_arguments_that_are_no_object_become_an_empty_one(arguments: str) -> None:
    assert tool_input(arguments) == {}


def test_arguments_keep_every_digit() -> None:
    assert msgspec.json.encode(tool_input(' {"x": 1.10, "y": 9007199254740993}\n')) == (
        b'{"x": 1.10, "y": 9007199254740993}'
    )
