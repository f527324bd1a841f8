"""Local references of a schema written out in their place, as generators such as Pydantic make them.

A reference to another document stays as it is. One that leads back to itself, or too deep, reads `{}`: anything.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

import msgspec

from protocol.api.tools.schema import Members, encoded, read_items, read_members

MAX_DEPTH: Final = 64
MAX_NODES: Final = 4096
"""Schemas that the tools of one request may unfold to; references to references multiply."""
MAX_BYTES: Final = 1024 * 1024
"""Text that references may add to the tools of one request: a short one may lead to a long schema, many times."""
MAX_STEPS: Final = 16
"""Of a reference; each looks through a part of the document."""

_REF: Final = "$ref"
_HOMES: Final = ("$defs", "definitions")
_ANYTHING: Final = msgspec.Raw(b"{}")


class Unfolding:
    """What is left of the bound of one request."""

    def __init__(self) -> None:
        self._left = MAX_NODES
        self._bytes_left = MAX_BYTES

    def take(self) -> bool:
        """Count one schema; False when there may be no more."""
        self._left -= 1
        return self._left >= 0

    def add(self, schema: msgspec.Raw) -> bool:
        """Count the text that a reference leads to; False when there is no room for it."""
        size = len(memoryview(schema))
        if size > self._bytes_left:
            return False
        self._bytes_left -= size
        return True


def inline_references(schema: msgspec.Raw, unfolding: Unfolding | None = None) -> msgspec.Raw:
    """The schema without local references, and without the definitions that nothing refers to any more."""
    if b'"$ref"' not in bytes(schema):
        return schema
    inliner = _Inliner(schema, unfolding or Unfolding())
    members = read_members(inliner.unfold(schema, (), 0))
    if not inliner.kept:
        members = {name: value for name, value in members.items() if name not in _HOMES}
    return encoded(members)


class _Inliner:
    def __init__(self, root: msgspec.Raw, unfolding: Unfolding) -> None:
        self._root = root
        self._unfolding = unfolding
        self._looked_at: dict[tuple[str, ...], Members | list[msgspec.Raw]] = {}
        self.kept = False
        """A reference could not be followed and stays."""

    def unfold(self, raw: msgspec.Raw, trail: tuple[str, ...], depth: int) -> msgspec.Raw:
        """A schema, or any other value below one, with its references replaced; `trail` are those being followed."""
        text = bytes(raw)
        if b'"$ref"' not in text:
            return raw
        if not self._unfolding.take() or depth > MAX_DEPTH:
            return _ANYTHING
        members = read_members(raw, or_none=True)
        if members is not None:
            return self._object(members, trail, depth)
        items = read_items(raw)
        return raw if items is None else encoded([self.unfold(item, trail, depth + 1) for item in items])

    def _object(self, members: Members, trail: tuple[str, ...], depth: int) -> msgspec.Raw:
        pointer = _pointer(members.get(_REF))
        if pointer is None:
            inner = {
                name: value if name in _HOMES and depth == 0 else self.unfold(value, trail, depth + 1)
                for name, value in members.items()
            }
            return encoded(inner)
        target = None if pointer in trail else self._find(pointer)
        beside = {name: value for name, value in members.items() if name != _REF}
        found: Members = {}
        if target is None and pointer not in trail:
            self.kept = True
            return encoded(members)
        if target is not None and self._unfolding.add(target):
            unfolded = self.unfold(target, (*trail, pointer), depth + 1)
            if read_members(unfolded, or_none=True) is None:
                return unfolded  # `true` or `false`: nothing can stand beside it
            found = read_members(unfolded)
        kept = {name: self.unfold(value, trail, depth + 1) for name, value in beside.items()}
        return encoded(found | kept)

    def _find(self, pointer: str) -> msgspec.Raw | None:
        """What a JSON pointer (RFC 6901) leads to; None if it leads nowhere, or to another document."""
        if not pointer.startswith("#"):
            return None
        steps = unquote(pointer[1:]).split("/")[1:]
        if len(steps) > MAX_STEPS:
            return None
        place = self._root
        for index, step in enumerate(steps):
            key = step.replace("~1", "/").replace("~0", "~")
            inner = self._inside(tuple(steps[:index]), place)
            if isinstance(inner, dict):
                if key not in inner:
                    return None
                place = inner[key]
            elif (key.isascii() and key.isdigit()) and int(key[:9]) < len(inner):
                place = inner[int(key[:9])]
            else:
                return None
        return place

    def _inside(self, trail: tuple[str, ...], place: msgspec.Raw) -> Members | list[msgspec.Raw]:
        """The members or items of a place, which is read once; `trail` leads to it."""
        known = self._looked_at.get(trail)
        if known is None:
            members = read_members(place, or_none=True)
            known = members if members is not None else read_items(place) or []
            self._looked_at[trail] = known
        return known


def _pointer(raw: msgspec.Raw | None) -> str | None:
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw, type=str)
    except (msgspec.MsgspecError, ValueError):
        return None
