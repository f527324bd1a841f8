"""The named events of a message stream, as bytes."""

from __future__ import annotations

from typing import Final

import msgspec

PING: Final = b'event: ping\ndata: {"type":"ping"}\n\n'
MESSAGE_STOP: Final = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
DELTA_END: Final = b'"}}\n\n'

_DELTA: Final = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":"'
)


def event(kind: str, members: dict[str, object]) -> bytes:
    """One event of a kind; `members` follow its type."""
    data = msgspec.json.encode({"type": kind} | members)
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


def delta_head(index: int, kind: bytes, member: bytes) -> bytes:
    """Everything of a delta event in front of its text; `DELTA_END` follows the text."""
    return _DELTA % (index, kind, member)


def json_body(text: str) -> bytes:
    """The inside of a JSON string."""
    return msgspec.json.encode(text)[1:-1]
