"""The output items of one response: what the model said, thought and called, in the order in which it began to.

Texts are kept as JSON string bodies, so that a delta that was passed on as it came is never decoded again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

import msgspec

from protocol.api.json_prefix import JsonPrefix

Status: TypeAlias = Literal["in_progress", "completed", "incomplete"]

TEXT: Final = "output_text"
REFUSAL: Final = "refusal"


def quoted(bodies: list[bytes]) -> bytes:
    """One JSON string made of string bodies."""
    return b'"' + b"".join(bodies) + b'"'


@dataclass(slots=True)
class Part:
    """A content part of a message: `output_text` or `refusal`."""

    kind: Literal["output_text", "refusal"]
    bodies: list[bytes] = field(default_factory=list)
    logprobs: list[bytes] = field(default_factory=list)

    def logprobs_json(self) -> bytes:
        """All log probabilities of the text, as one array."""
        return b"[" + b",".join(self.logprobs) + b"]"

    def json(self) -> bytes:
        """The part with what it holds by now."""
        if self.kind == REFUSAL:
            return b'{"type":"refusal","refusal":' + quoted(self.bodies) + b"}"
        return b'{"type":"output_text","text":%b,"annotations":[],"logprobs":%b}' % (
            quoted(self.bodies),
            self.logprobs_json(),
        )


@dataclass(slots=True)
class Message:
    """What the assistant says; at most its last part is open."""

    item_id: str
    index: int
    status: Status = "in_progress"
    parts: list[Part] = field(default_factory=list)

    def json(self) -> bytes:
        """The item with what it holds by now."""
        return b'{"type":"message","id":%b,"status":"%b","role":"assistant","content":[%b]}' % (
            msgspec.json.encode(self.item_id),
            self.status.encode(),
            b",".join(part.json() for part in self.parts),
        )


@dataclass(slots=True)
class Reasoning:
    """What the model thinks; shown as one summary text."""

    item_id: str
    index: int
    status: Status = "in_progress"
    bodies: list[bytes] = field(default_factory=list)

    def part_json(self) -> bytes:
        """The summary part."""
        return b'{"type":"summary_text","text":' + quoted(self.bodies) + b"}"

    def json(self) -> bytes:
        """The item with what it holds by now."""
        return b'{"type":"reasoning","id":%b,"status":"%b","summary":[%b]}' % (
            msgspec.json.encode(self.item_id),
            self.status.encode(),
            self.part_json() if self.bodies else b"",
        )


@dataclass(slots=True)
class FunctionCall:
    """One function call. It is no item until its name is known; from then on its ids never change."""

    call_id: str
    item_id: str = ""
    index: int = -1
    name: str = ""
    status: Status = "in_progress"
    bodies: list[bytes] = field(default_factory=list)
    prefix: JsonPrefix = field(default_factory=JsonPrefix)
    """Of the arguments: judged piece by piece, for they may be long and are asked about often."""

    @property
    def opened(self) -> bool:
        """It has a place among the items."""
        return self.index >= 0

    def add_arguments(self, text: str) -> bytes:
        """Add a piece of the arguments; gives it as the body of a JSON string."""
        self.prefix.feed(text)
        body = msgspec.json.encode(text)[1:-1]
        self.bodies.append(body)
        return body

    def arguments_are_whole(self) -> bool:
        """The arguments are one JSON value by now."""
        return self.prefix.complete

    def json(self) -> bytes:
        """The item with what it holds by now."""
        return b'{"type":"function_call","id":%b,"status":"%b","call_id":%b,"name":%b,"arguments":%b}' % (
            msgspec.json.encode(self.item_id),
            self.status.encode(),
            msgspec.json.encode(self.call_id),
            msgspec.json.encode(self.name),
            quoted(self.bodies),
        )


Item: TypeAlias = Message | Reasoning | FunctionCall
