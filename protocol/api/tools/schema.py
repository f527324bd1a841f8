"""JSON schemas as raw members: what is not touched keeps its bytes, so numbers keep every digit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, TypeAlias, overload

import msgspec

Members: TypeAlias = dict[str, msgspec.Raw]

MARKER: Final = "x-darkbloom-original-boolean-schema"
"""Stands in a schema that was `true`, `false` or `{}` and got a type; callers may not use it."""

MAPS_OF_SCHEMAS: Final = ("properties", "patternProperties")
LISTS_OF_SCHEMAS: Final = ("prefixItems", "anyOf", "oneOf", "allOf")

_DECODER: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw])


@overload
def read_members(raw: msgspec.Raw, *, or_none: Literal[True]) -> Members | None: ...
@overload
def read_members(raw: msgspec.Raw) -> Members: ...
def read_members(raw: msgspec.Raw, *, or_none: bool = False) -> Members | None:
    """The members of an object; for any other value empty, or None."""
    try:
        return _DECODER.decode(raw)
    except (msgspec.MsgspecError, ValueError):
        return None if or_none else {}


def read_items(raw: msgspec.Raw) -> list[msgspec.Raw] | None:
    """The items of an array; None for any other value."""
    try:
        return _LIST.decode(raw)
    except (msgspec.MsgspecError, ValueError):
        return None


def encoded(value: object) -> msgspec.Raw:
    """A value as raw JSON."""
    return msgspec.Raw(msgspec.json.encode(value))


def is_marked(value: object) -> bool:
    """True if any object in a decoded value has the reserved word as a key."""
    return any(isinstance(node, dict) and MARKER in node for node in _nodes(value))


def _nodes(value: object) -> Iterator[object]:
    waiting = [value]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, dict):
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
