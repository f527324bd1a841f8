"""Message streams: exact events, and what the official SDK accumulates from them."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import msgspec
import pytest

from protocol.api import UsageReport
from protocol.api.anthropic import MessagesDialect, block_queue
from protocol.api.anthropic.block_queue import MAX_WAITING_CHARACTERS
from protocol.api.anthropic.stream import MessageStream
from protocol.api.chat_answer import AnswerTooLarge
from protocol.api.errors import ApiError
from protocol.api.shapes import AnswerFacts
from tests.unit.protocol.api.anthropic.sdk_reader import client_reading, read_stream, shown

FACTS = AnswerFacts(job_id="a-b-c", public_model="p", created=5, requested_max=100, prompt_tokens=11)
USAGE = UsageReport(prompt_tokens=10, completion_tokens=4)


def stream(*, has_tools: bool = False, split_think: bool = False, stops: tuple[str, ...] = ()) -> MessageStream:
    facts = msgspec.structs.replace(FACTS, split_think=split_think)
    return MessagesDialect(stop_sequences=stops, has_tools=has_tools, request_id="req-1").new_stream(facts)


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    return b"data: " + msgspec.json.encode({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


def call(index: int, call_id: str | None = None, name: str | None = None, arguments: str = "") -> dict[str, Any]:
    function: dict[str, Any] = {"arguments": arguments} | ({"name": name} if name else {})
    return {"tool_calls": [{"index": index, "function": function} | ({"id": call_id} if call_id else {})]}


def fed(target: MessageStream, *deltas: dict[str, Any]) -> bytes:
    return b"".join(piece.ready for delta in deltas for piece in target.feed(chunk(delta)))


def events(text: bytes) -> list[dict[str, Any]]:
    found = []
    for event in text.decode().split("\n\n")[:-1]:
        name, data = event.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


def test_golden_stream_of_thinking_and_a_tool_call() -> None:
    target = stream(has_tools=True)
    out = fed(target, {"role": "assistant", "content": ""}, {"reasoning_content": "hm"})
    out += fed(target, call(0, "c1", "f", '{"a":'), call(0, arguments="1}"))
    out += target.finish(USAGE)
    assert events(out) == [
        {
            "type": "message_start",
            "message": {
                "id": "msg_abc",
                "type": "message",
                "role": "assistant",
                "model": "p",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {"input_tokens": 11, "output_tokens": 0},
            },
        },
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "thinking", "thinking": "", "signature": ""},
        },
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "signature_delta", "signature": "darkbloom-abc"},
        },
        {"type": "content_block_stop", "index": 0},
        {
            "type": "content_block_start",
            "index": 1,
            "content_block": {"type": "tool_use", "id": "c1", "name": "f", "input": {}},
        },
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"a":'}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "1}"}},
        {"type": "content_block_stop", "index": 1},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use", "stop_sequence": None},
            "usage": {"input_tokens": 10, "output_tokens": 4, "output_tokens_details": {"thinking_tokens": 4}},
        },
        {"type": "message_stop"},
    ]
    message = read_stream(out)
    assert shown(message) == [("thinking", "hm"), ("tool_use", "f", {"a": 1})]
    assert message.stop_reason == "tool_use"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (10, 4)


def test_text_is_passed_on_at_once_and_counted() -> None:
    target = stream()
    assert target.feed(chunk({"role": "assistant", "content": ""})) == []
    (piece,) = target.feed(chunk({"content": "Hé\n"}))
    assert (piece.content, piece.deltas, piece.text_bytes) == (True, 1, 4)
    assert [event["type"] for event in events(piece.ready)] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
    ]
    (second,) = target.feed(chunk({"content": "🌍"}))
    assert second.ready == (
        b"event: content_block_delta\n"
        b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"'
        + "🌍".encode()
        + b'"}}\n\n'
    )
    assert (target.deltas, target.text_bytes) == (2, 8)
    assert not target.ended
    target.feed(b"data: [DONE]\n\n")
    assert target.ended


def test_empty_answer_is_a_message_without_blocks() -> None:
    message = read_stream(stream().finish(USAGE))
    assert (message.content, message.stop_reason) == ([], "end_turn")


def test_parallel_calls_stream_one_after_the_other() -> None:
    target = stream(has_tools=True)
    out = fed(target, call(0, "c1", "f", '{"x":'), call(0, arguments="1}"))
    opened = fed(target, call(0, "c2", "g", '{"y"'))  # the same index with another id is the next call
    assert [event["type"] for event in events(opened)] == [
        "content_block_stop",
        "content_block_start",
        "content_block_delta",
    ]
    out += opened + fed(target, call(0, arguments=":2}")) + target.finish(USAGE)
    message = read_stream(out)
    assert shown(message) == [("tool_use", "f", {"x": 1}), ("tool_use", "g", {"y": 2})]
    assert [block.id for block in message.content if block.type == "tool_use"] == ["c1", "c2"]


def test_interleaved_calls_wait_for_their_turn() -> None:
    target = stream(has_tools=True)
    out = fed(target, call(0, "c1", "f", '{"x":'), call(1, "c2", "g", '{"y":'))
    assert b'"index":1' not in out
    out += fed(target, call(1, arguments="2}"))
    assert b'"index":1' not in out
    out += fed(target, call(0, arguments="1}"))
    assert b'"index":1' in out
    out += target.finish(USAGE)
    assert shown(read_stream(out)) == [("tool_use", "f", {"x": 1}), ("tool_use", "g", {"y": 2})]


def test_call_opens_once_its_name_is_known_and_ids_are_made_up() -> None:
    target = stream(has_tools=True)
    out = fed(target, call(0, arguments='{"x"'))
    assert b"content_block_start" not in out
    out += fed(target, call(0, None, "f", ":1}")) + target.finish(USAGE)
    message = read_stream(out)
    assert shown(message) == [("tool_use", "f", {"x": 1})]
    assert message.content[0].type == "tool_use"
    assert message.content[0].id == "call_abc_0"


def test_text_after_a_call_is_a_block_of_its_own() -> None:
    target = stream(has_tools=True)
    out = fed(target, {"content": "a"}, call(0, "c", "f", "{}"), {"content": "b"}, {"content": "c"})
    assert target.template is None
    out += target.finish(USAGE)
    assert shown(read_stream(out)) == [("text", "a"), ("tool_use", "f", {}), ("text", "bc")]


def test_arguments_that_are_no_json_are_cut_where_they_go_wrong() -> None:
    target = stream(has_tools=True)
    out = fed(target, call(0, "c", "f", '{"a": 1, b: 2'), call(0, arguments="}"), call(1, "d", "g", '{"k": 3}'))
    out += target.finish(USAGE)
    assert shown(read_stream(out)) == [("tool_use", "f", {"a": 1}), ("tool_use", "g", {"k": 3})]
    assert target.dropped_calls == 1


def test_fragments_behind_a_closed_call_are_dropped_and_counted() -> None:
    target = stream(has_tools=True)
    out = fed(target, call(0, "c", "f", "{}"), {"content": "x"}, call(0, arguments=" "), call(0, arguments="!"))
    out += target.finish(USAGE)
    assert shown(read_stream(out)) == [("tool_use", "f", {}), ("text", "x")]
    assert target.dropped_calls == 1


def test_where_text_is_spliced_everything_else_follows_behind_it() -> None:
    target = stream()
    out = fed(target, {"content": "a"}, {"content": "b"}, {"reasoning_content": "why"}, call(0, "c", "f", "{}"))
    out += fed(target, {"content": "c"})
    assert target.template is not None
    out += target.finish(USAGE)
    assert shown(read_stream(out)) == [("text", "abc"), ("thinking", "why"), ("tool_use", "f", {})]


def test_waiting_text_is_bounded() -> None:
    target = stream()
    fed(target, {"content": "a"})
    half = "x" * (MAX_WAITING_CHARACTERS // 2 + 1)
    fed(target, {"reasoning_content": half})
    with pytest.raises(AnswerTooLarge):
        fed(target, {"reasoning_content": half})


def test_waiting_blocks_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_queue, "MAX_WAITING_CHARACTERS", 100 * block_queue.BLOCK_CHARACTERS)
    target = stream(has_tools=True)
    fed(target, call(0, "c1", "f", '{"a":'))
    turns = ({"content": "x"}, {"reasoning_content": "y"}) * 50
    with pytest.raises(AnswerTooLarge):
        fed(target, *turns)


def test_blocks_that_left_count_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_queue, "MAX_WAITING_CHARACTERS", 100 * block_queue.BLOCK_CHARACTERS)
    target = stream(has_tools=True)
    for _ in range(100):
        fed(target, {"content": "x"}, {"reasoning_content": "y"})
    assert events(target.finish(USAGE))[-1]["type"] == "message_stop"


def test_think_blocks_of_reasoning_models_become_thinking() -> None:
    target = stream(split_think=True)
    out = fed(target, {"content": "<thi"}, {"content": "nk>deep</think>"}, {"content": "hi <b"})
    assert target.template is None
    out += target.finish(USAGE)
    assert shown(read_stream(out)) == [("thinking", "deep"), ("text", "hi <b")]


def test_refusal_is_text_and_content_filter_is_a_refusal() -> None:
    target = stream()
    out = fed(target, {"refusal": "No."}) + b"".join(p.ready for p in target.feed(chunk({}, "content_filter")))
    message = read_stream(out + target.finish(USAGE))
    assert (shown(message), message.stop_reason) == ([("text", "No.")], "refusal")


@pytest.mark.parametrize(
    ("reported", "completion", "matched", "reason", "sequence"),
    [
        ("stop", 4, None, "end_turn", None),
        (None, 4, None, "end_turn", None),
        ("stop", 100, None, "max_tokens", None),
        ("length", 4, None, "max_tokens", None),
        ("stop", 4, "END", "stop_sequence", "END"),
        ("stop", 100, "END", "stop_sequence", "END"),
        ("stop", 4, "never listed", "end_turn", None),
        ("length", 4, "END", "max_tokens", None),
    ],
)
def test_stop_reasons(
    reported: str | None, completion: int, matched: str | None, reason: str, sequence: str | None
) -> None:
    target = stream(stops=("END",))
    out = fed(target, {"content": "x"}) + b"".join(piece.ready for piece in target.feed(chunk({}, reported)))
    usage = UsageReport(prompt_tokens=1, completion_tokens=completion)
    message = read_stream(out + target.finish(usage, stop_sequence=matched))
    assert (message.stop_reason, message.stop_sequence) == (reason, sequence)


def test_cached_tokens_are_counted_apart_and_attachments_ride_on_the_last_delta() -> None:
    target = stream()
    out = fed(target, {"content": "x"})
    usage = UsageReport(prompt_tokens=10, completion_tokens=4, cached_tokens=6)
    out += target.finish(usage, response_hash="h", se_signature="s", attachments={"darkbloom": {"receipt": "r"}})
    ending = events(out)[-2]
    assert ending["usage"] == {"input_tokens": 4, "output_tokens": 4, "cache_read_input_tokens": 6}
    assert (ending["response_hash"], ending["se_signature"]) == ("h", "s")
    assert ending["darkbloom"] == {"receipt": "r"}
    read = read_stream(out).usage
    assert (read.input_tokens, read.cache_read_input_tokens) == (4, 6)


@pytest.mark.parametrize(
    ("status", "kind"), [(502, "api_error"), (504, "timeout_error"), (429, "overloaded_error"), (500, "api_error")]
)
def test_broken_answer_ends_with_an_error_that_the_sdk_raises(status: int, kind: str) -> None:
    target = stream()
    out = fed(target, {"content": "x"}) + target.fail(ApiError(status, "provider_error", "It broke."))
    assert events(out)[-1] == {
        "type": "error",
        "error": {
            "type": kind,
            "message": "It broke.",
            "code": "provider_error",
            "details": {"error_code": "provider_error"},
        },
        "request_id": "req-1",
    }
    with pytest.raises(anthropic.APIStatusError) as raised:
        read_stream(out)
    assert (raised.value.status_code, raised.value.type, raised.value.error_code) == (200, kind, "provider_error")


def test_keep_alive_is_a_ping_that_the_sdk_skips() -> None:
    target = stream()
    out = fed(target, {"content": "x"}) + MessagesDialect().keep_alive + fed(target, {"content": "y"})
    assert shown(read_stream(out + target.finish(USAGE))) == [("text", "xy")]


def test_what_is_no_chunk_is_dropped_and_counted() -> None:
    target = stream()
    assert target.feed(b"data: junk\n\n") == []
    assert target.dropped_events == 1


def test_text_events_name_the_running_text() -> None:
    target = stream()
    out = fed(target, {"content": "a"}, {"content": "b"}) + target.finish(USAGE)
    with (
        client_reading(out, "text/event-stream") as client,
        client.messages.stream(model="m", max_tokens=9, messages=[]) as read,
    ):
        assert list(read.text_stream) == ["a", "b"]
