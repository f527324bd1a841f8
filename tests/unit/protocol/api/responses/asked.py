"""Requests and chunks for tests of the Responses API, and what a client makes of the events."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import msgspec

from protocol.api import UsageReport
from protocol.api.responses import ResponsesDialect, parse_responses_request
from protocol.api.responses.answers import ResponseAnswer, ResponseStream
from protocol.api.shapes import AnswerFacts

JOB = "00000000-0000-4000-8000-00000000000a"
HEX = JOB.replace("-", "")
USAGE = UsageReport(prompt_tokens=3, completion_tokens=2, reasoning_tokens=1)


def body(**members: Any) -> bytes:
    return json.dumps({"model": "m", "input": "hi"} | members).encode()


def lowered(**members: Any) -> dict[str, Any]:
    """The body that a provider gets."""
    sent: dict[str, Any] = json.loads(parse_responses_request(body(**members)).chat.provider_body("b", 7))
    return sent


def dialect(**members: Any) -> ResponsesDialect:
    return ResponsesDialect(parse_responses_request(body(**members)).echo)


def facts(**changes: Any) -> AnswerFacts:
    members: dict[str, Any] = {"job_id": JOB, "public_model": "m", "created": 1780000000, "requested_max": 100}
    return AnswerFacts(**members | changes)


def new_stream(**changes: Any) -> ResponseStream:
    return dialect().new_stream(facts(**changes))


def new_answer(**changes: Any) -> ResponseAnswer:
    return dialect().new_answer(facts(**changes))


def chunk(delta: dict[str, Any], finish: str | None = None, **choice: Any) -> bytes:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish, **choice}]
    return b"data: " + json.dumps({"id": "x", "object": "chat.completion.chunk", "choices": choices}).encode() + b"\n\n"


def call(index: int, call_id: str = "", name: str = "", arguments: str = "") -> dict[str, Any]:
    fragment: dict[str, Any] = {"index": index, "function": {"arguments": arguments}}
    if call_id:
        fragment["id"] = call_id
    if name:
        fragment["function"]["name"] = name
    return {"tool_calls": [fragment]}


class Event(NamedTuple):
    kind: str
    data: dict[str, Any]


def events(out: bytes) -> list[Event]:
    """Every event of a stream; each is whole, named, and numbered without a gap."""
    assert out.endswith(b"\n\n")
    found: list[Event] = []
    for text in out.decode().removesuffix("\n\n").split("\n\n"):
        first, second = text.split("\n")
        data = json.loads(second.removeprefix("data: "))
        assert first == f"event: {data['type']}"
        assert data["sequence_number"] == len(found)
        found.append(Event(data["type"], data))
    return found


def streamed(
    *plaintexts: bytes, usage: UsageReport = USAGE, stream: ResponseStream | None = None, **ending: Any
) -> bytes:
    target = stream or new_stream()
    out = b"".join(piece.ready for text in plaintexts for piece in target.feed(text))
    return out + target.finish(usage, **ending)


def whole(*plaintexts: bytes, usage: UsageReport = USAGE, answer: ResponseAnswer | None = None, **ending: Any) -> Any:
    target = answer or new_answer()
    for text in plaintexts:
        target.feed(text)
    return json.loads(msgspec.json.encode(target.finish(usage, **ending)))
