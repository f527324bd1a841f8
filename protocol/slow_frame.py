"""Full decode of the rare frames whose `type` the scanner could not find, or that write `null` for a plain field.

Honest peers never send such frames, so this path prefers plain code over speed and refuses frames above
`SLOW_MAX_BYTES`: a hostile peer cannot make it hold the event loop for long.
"""

import re
from typing import Any, Final

import msgspec

MAX_DEPTH: Final = 128
"""Levels of nesting, the outermost object included; the scanner counts the same way."""

SLOW_MAX_BYTES: Final = 256 * 1024

_TOKEN: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\],:]|[^\s{}\[\],:"]+')
_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ANY: Final = msgspec.json.Decoder()


class MalformedFrame(Exception):
    """Not one strict JSON object within the bounds."""


class TypeNotString(Exception):
    """A top-level key that folds to `type` has a value that is neither a string nor `null`."""


def find_type(payload: bytes) -> bytes:
    """Give the value of the last top-level key that folds to `type`, `b""` when it is missing or `null`.

    Raises `MalformedFrame` or `TypeNotString`. Only ASCII case is folded.
    """
    _members(payload)
    depth = 0
    key: bytes | None = None
    name = b""
    previous = b""
    for found in _TOKEN.finditer(payload):
        token = found.group()
        if depth == 1 and previous == b":" and key is not None and _folds_to_type(key):
            name = _type_value(token)
        if token in (b"{", b"["):
            depth += 1
            if depth > MAX_DEPTH:
                raise MalformedFrame
        elif token in (b"}", b"]"):
            depth -= 1
        elif depth == 1 and previous in (b"{", b",") and token.startswith(b'"'):
            key = token
        previous = token
    return name


def convertible(payload: bytes, fields: frozenset[str], raw_fields: frozenset[str]) -> dict[str, Any]:
    """Decode the members named in `fields`, with every `null` member removed at any depth.

    Members in `raw_fields` stay exact bytes. `Any`: this is the JSON boundary. Raises `MalformedFrame`, or
    `msgspec.ValidationError` for a number out of range in a known field.
    """
    decoded: dict[str, Any] = {}
    for name, raw in _members(payload).items():
        if name not in fields or bytes(raw) == b"null":
            continue
        decoded[name] = raw if name in raw_fields else _without_nulls(_ANY.decode(raw))
    return decoded


def _members(payload: bytes) -> dict[str, msgspec.Raw]:
    """Check that the payload is one strict UTF-8 JSON object and split its top level, last duplicate wins."""
    if len(payload) > SLOW_MAX_BYTES:
        raise MalformedFrame
    try:
        payload.decode()
        return _MEMBERS.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    raise MalformedFrame


def _folds_to_type(key: bytes) -> bool:
    text: str = _ANY.decode(key)
    return text.isascii() and text.lower() == "type"


def _type_value(token: bytes) -> bytes:
    if token.startswith(b'"'):
        text: str = _ANY.decode(token)
        return text.encode()
    if token == b"null":
        return b""
    raise TypeNotString


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(member) for name, member in value.items() if member is not None}
    if isinstance(value, list):
        return [_without_nulls(element) for element in value]
    return value
