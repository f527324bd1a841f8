"""Schemas in which every node ends with a type as one string, because chat templates print `type` in capitals.

The rest of a schema keeps its bytes. Types that the schema does not state are read from its other keywords.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

import msgspec

from protocol.api.exact_json import decode_exact
from protocol.api.tools.schema import (
    LISTS_OF_SCHEMAS,
    MAPS_OF_SCHEMAS,
    MARKER,
    Members,
    encoded,
    read_items,
    read_members,
)

MAX_DEPTH: Final = 64

_NULL: Final = "null"
_STRING: Final = "string"
_TRUE: Final = msgspec.Raw(b"true")
_NUMERIC: Final = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})


def complete_types(schema: msgspec.Raw) -> msgspec.Raw:
    """The parameters of a function with every schema below them typed; they themselves are an object anyway."""
    members = read_members(schema, or_none=True)
    if members is None:
        return schema
    fixed = _below(members, 0)
    return schema if fixed == members else encoded(fixed)


def is_complete(schema: object) -> bool:
    """True for decoded parameters that `complete_types` would leave as they are; much cheaper than asking it."""
    return not isinstance(schema, dict) or _complete_below(schema, 0)


def _complete(schema: object, depth: int) -> bool:
    if depth > MAX_DEPTH:
        return True
    if not isinstance(schema, dict):
        return not isinstance(schema, bool)
    return isinstance(schema.get("type"), str) and _complete_below(schema, depth)


def _complete_below(schema: dict[str, object], depth: int) -> bool:
    for name in MAPS_OF_SCHEMAS:
        inner = schema.get(name)
        if isinstance(inner, dict) and not all(_complete(value, depth + 1) for value in inner.values()):
            return False
    for name in (*LISTS_OF_SCHEMAS, "items"):
        several = schema.get(name)
        if isinstance(several, list) and not all(_complete(item, depth + 1) for item in several):
            return False
    if "items" in schema and not isinstance(schema["items"], list) and not _complete(schema["items"], depth + 1):
        return False
    more = schema.get("additionalProperties")
    return not isinstance(more, dict) or _complete(more, depth + 1)


def _typed(raw: msgspec.Raw, depth: int) -> msgspec.Raw:
    """One schema in a place where schemas stand."""
    members = read_members(raw, or_none=True)
    if depth > MAX_DEPTH:
        return raw
    if not members:
        original = _boolean(raw, members)
        return raw if original is None else encoded({"type": _STRING, MARKER: original})
    fixed = _below(members, depth)
    if not bytes(fixed.get("type", _TRUE)).lstrip().startswith(b'"'):
        kinds = _stated(fixed.get("type")) or _implied(fixed)
        concrete = [kind for kind in kinds if kind != _NULL]
        fixed["type"] = encoded(concrete[0] if concrete else _NULL if kinds else _STRING)
        if concrete and _NULL in kinds:
            fixed["nullable"] = _TRUE
    return raw if fixed == members else encoded(fixed)


def _below(members: Members, depth: int) -> Members:
    fixed = dict(members)
    for name in MAPS_OF_SCHEMAS:
        inner = read_members(members[name], or_none=True) if name in members else None
        if inner:
            fixed[name] = _changed(
                inner, {key: _typed(value, depth + 1) for key, value in inner.items()}, members[name]
            )
    for name in LISTS_OF_SCHEMAS:
        items = read_items(members[name]) if name in members else None
        if items:
            typed = [_typed(item, depth + 1) for item in items]
            fixed[name] = members[name] if typed == items else encoded(typed)
    if "items" in members:
        several = read_items(members["items"])
        if several is None:
            fixed["items"] = _typed(members["items"], depth + 1)
        else:
            typed = [_typed(item, depth + 1) for item in several]
            fixed["items"] = members["items"] if typed == several else encoded(typed)
    more = members.get("additionalProperties")
    if more is not None and read_members(more, or_none=True) is not None:
        fixed["additionalProperties"] = _typed(more, depth + 1)
    return fixed


def _changed(before: Members, after: Members, raw: msgspec.Raw) -> msgspec.Raw:
    return raw if after == before else encoded(after)


def _boolean(raw: msgspec.Raw, members: Members | None) -> bool | None:
    """The boolean that a schema is: `{}` allows everything, as `true` does. None for what is no schema."""
    if members is not None:
        return True
    text = bytes(raw).strip()
    return {b"true": True, b"false": False}.get(text)


def _stated(raw: msgspec.Raw | None) -> list[str]:
    if raw is None:
        return []
    value = decode_exact(raw)
    listed = value if isinstance(value, list) else [value]
    return _unique(kind for kind in listed if isinstance(kind, str))


def _implied(members: Members) -> list[str]:
    if "properties" in members:
        return ["object"]
    if "items" in members or "prefixItems" in members:
        return ["array"]
    if "const" in members:
        return [_kind_of(decode_exact(members["const"]))]
    values = read_items(members["enum"]) if "enum" in members else None
    if values:
        return _unique(_kind_of(decode_exact(value)) for value in values)
    for name in ("anyOf", "oneOf", "allOf"):
        parts = read_items(members[name]) if name in members else None
        if parts:
            return _unique(kind for part in parts for kind in _stated(read_members(part).get("type")))
    return ["number"] if _NUMERIC & members.keys() else []


def _kind_of(value: object) -> str:
    match value:
        case None:
            return _NULL
        case bool():
            return "boolean"
        case int():
            return "integer"
        case Decimal():
            return "number"
        case str():
            return _STRING
        case list():
            return "array"
        case _:
            return "object"


def _unique(kinds: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(kinds))
