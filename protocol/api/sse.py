"""Server-sent events: splitting what a provider sends, encoding what a client reads."""

from __future__ import annotations

import re
from typing import Final

import msgspec

DONE: Final = b"data: [DONE]\n\n"
"""The one event that ends a chat completion stream."""

DONE_PAYLOAD: Final = b"[DONE]"

_DONE_LINE: Final = b"data: [DONE]"

KEEP_ALIVE: Final = b": keep-alive\n\n"
"""A comment; every SSE parser skips it."""

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_BLANK_LINE: Final = re.compile(rb"(?:\r\n|\n|\r(?!\n)|\A)(?:\r\n|\n|\r(?!\n))")


def split_events(text: bytes) -> list[bytes]:
    r"""The data payloads of the events in `text`, in order.

    Lines end with LF, CRLF or a lone CR; a blank line ends an event; the last event needs no blank line. `data:` may or
    may not be followed by one space; several data lines of one event are joined by LF. Comments and other fields are
    skipped, as are events without data (WHATWG HTML, "Interpreting an event stream"). Blocks nothing, raises nothing.
    """
    if text.startswith(b"data: ") and b"\r" not in text:  # the common shape: one event, one line
        line = text.rstrip(b"\n")
        if b"\n" not in line:
            payload = line[6:]
            return [payload] if payload else []
    payloads: list[bytes] = []
    data: list[bytes] = []
    for line in _LINE_END.split(text.removeprefix(b"\xef\xbb\xbf")):
        if not line:
            if data:
                payloads.append(b"\n".join(data))
                data = []
            continue
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
    if data:
        payloads.append(b"\n".join(data))
    return [payload for payload in payloads if payload]


def split_stream(text: bytes) -> tuple[list[bytes], bytes]:
    r"""(payloads of the events that a blank line ended, the bytes behind the last blank line).

    For text that may be cut anywhere: what comes second is the beginning of an event, or one without its blank line.
    """
    if text.endswith(b"\n\n") and b"\r" not in text:
        return split_events(text), b""
    end = 0
    for blank in _BLANK_LINE.finditer(text):
        end = blank.end()
    # A CR at the very end may be half of a CRLF: it belongs to what follows, which does no harm to a blank line.
    return split_events(text[:end]), text[end:]


def is_done(text: bytes) -> bool:
    """True for a text that is the end of a chat stream in its common form; other forms need `split_events`."""
    return text.startswith(_DONE_LINE) and not text[len(_DONE_LINE) :].strip(b"\r\n")


def encode_json_event(value: object) -> bytes:
    """One unnamed event around the compact JSON of `value`; `<`, `>` and `&` stay as they are."""
    return b"data: " + msgspec.json.encode(value) + b"\n\n"
