"""Tool-call fragments renumbered, so that every client merges them into the calls that the model made.

SDK accumulators concatenate repeated ids and names, and demand indexes that are contiguous from 0; engines repeat the
former and reuse the latter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from protocol.api.chunk import WireToolCall

MAX_CALLS: Final = 128
"""Logical calls of one answer; fragments of further calls are dropped and counted."""


@dataclass(slots=True)
class _Open:
    number: int
    call_id: str
    named: bool


class ToolCallNumbering:
    """State of the calls of one answer. `job_hex` makes ids for calls that came without one."""

    def __init__(self, job_hex: str) -> None:
        self._job_hex = job_hex
        self._open: dict[int, _Open] = {}
        self._count = 0
        self.dropped = 0

    @property
    def count(self) -> int:
        """Logical calls so far."""
        return self._count

    def place(self, fragment: WireToolCall) -> dict[str, object] | None:
        """The fragment as a client gets it; None when it adds nothing, or belongs to a call beyond `MAX_CALLS`.

        A new non-empty id on an index opens the next call; a fragment without id continues the newest call there.
        """
        wire_index = fragment.index or 0
        current = self._open.get(wire_index)
        name = (fragment.function.name if fragment.function else None) or ""
        arguments = (fragment.function.arguments if fragment.function else None) or ""
        if current is None or (fragment.id and fragment.id != current.call_id):
            return self._start(wire_index, fragment.id, name, arguments)
        function: dict[str, str] = {}
        if name and not current.named:
            current.named = True
            function["name"] = name
        if arguments:
            function["arguments"] = arguments
        return {"index": current.number, "function": function} if function else None

    def _start(self, wire_index: int, call_id: str | None, name: str, arguments: str) -> dict[str, object] | None:
        if self._count >= MAX_CALLS:
            self.dropped += 1
            return None
        number = self._count
        self._count += 1
        opened = _Open(number, call_id or f"call_{self._job_hex}_{number}", bool(name))
        self._open[wire_index] = opened
        return {
            "index": number,
            "id": opened.call_id,
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }


def fragment_text_bytes(fragment: dict[str, object]) -> int:
    """UTF-8 bytes of the name and the arguments in a placed fragment."""
    function = fragment["function"]
    return sum(len(text.encode()) for text in function.values()) if isinstance(function, dict) else 0
