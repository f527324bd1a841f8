"""Whether a provider can force a model to obey a schema; asked only where a call is forced.

What is refused here is harmless when the model is free to call or not: there a schema is a description.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from protocol.api.errors import ApiError, invalid_request
from protocol.api.exact_json import decode_exact
from protocol.api.tools.schema import LISTS_OF_SCHEMAS, MAPS_OF_SCHEMAS, Members, read_items, read_members

MAX_DEPTH: Final = 32
MAX_NODES: Final = 2048
"""Schemas of all tools that may be called; a grammar is built from each."""
MAX_PATTERN_PROPERTIES: Final = 32
MAX_PATTERN_BYTES: Final = 128

_UNSUPPORTED: Final = (
    "$ref",
    "$dynamicRef",
    "$recursiveRef",
    "if",
    "then",
    "else",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
)
_LITERAL: Final = re.compile(r"\^?[^\\^$.|?*+()\[\]{}]*\$?")


class Enforceable:
    """The budget of one request."""

    def __init__(self) -> None:
        self._nodes = 0

    def check(self, schema: msgspec.Raw) -> None:
        """Raise ApiError 422 for a schema that no provider could enforce."""
        self._node(schema, 0)

    def _node(self, raw: msgspec.Raw, depth: int) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise too_complex(f"the tools hold more than {MAX_NODES} schemas together")
        if depth > MAX_DEPTH:
            raise too_complex(f"schemas are nested deeper than {MAX_DEPTH} levels")
        members = read_members(raw)
        for name in _UNSUPPORTED:
            if name in members:
                raise too_complex(f"{name} is used")
        _check_types(members)
        _check_pattern(members)
        for name in MAPS_OF_SCHEMAS:
            inner = read_members(members[name]) if name in members else {}
            if name == "patternProperties" and len(inner) > MAX_PATTERN_PROPERTIES:
                raise too_complex(f"there are more than {MAX_PATTERN_PROPERTIES} patternProperties")
            for value in inner.values():
                self._node(value, depth + 1)
        for name in LISTS_OF_SCHEMAS:
            for item in (read_items(members[name]) if name in members else None) or ():
                self._node(item, depth + 1)
        for name in ("items", "additionalProperties"):
            if name in members:
                for item in read_items(members[name]) or [members[name]]:
                    self._node(item, depth + 1)


def _check_types(members: Members) -> None:
    kinds = decode_exact(members["type"]) if "type" in members else None
    if isinstance(kinds, list) and len({kind for kind in kinds if isinstance(kind, str)} - {"null"}) > 1:
        raise too_complex("a type is a list of several types")
    for name in ("anyOf", "oneOf"):
        parts = (read_items(members[name]) if name in members else None) or []
        found: set[object] = set()
        for part in parts:
            stated = read_members(part).get("type")
            kind = decode_exact(stated) if stated is not None else None
            if not isinstance(kind, str):
                raise too_complex(f"a member of {name} has no type")
            found.add(kind)
        if len(found - {"null"}) > 1:
            raise too_complex(f"{name} joins several types")
    if kinds is None and "enum" in members:
        values = decode_exact(members["enum"])
        if isinstance(values, list) and len({type(value) for value in values if value is not None}) > 1:
            raise too_complex("an enum without a type mixes several types")


def _check_pattern(members: Members) -> None:
    if "pattern" not in members:
        return
    pattern = decode_exact(members["pattern"])
    if not isinstance(pattern, str) or len(pattern.encode()) > MAX_PATTERN_BYTES or _LITERAL.fullmatch(pattern) is None:
        raise too_complex("a pattern is not a plain text")


def too_complex(reason: str) -> ApiError:
    """422: a forced call with these tools cannot be enforced."""
    return invalid_request(
        f"A forced call cannot be enforced with these tools: {reason}. Simplify it, or let tool_choice be auto.",
        param="tools",
        status=422,
    )
