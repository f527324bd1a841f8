"""Reasoning text under every name that clients look for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protocol.api.chunk import WireDelta


def whole_detail(text: str) -> dict[str, object]:
    """The one `reasoning_details` entry of a complete message, or of the first delta with reasoning."""
    return {
        "type": "reasoning.text",
        "text": text,
        "id": "reasoning-text-0",
        "format": "unknown",
        "index": 0,
        "signature": None,
    }


class ReasoningDeltas:
    """Writes both aliases and the details; accumulators join strings, so an entry names id and format only once."""

    def __init__(self) -> None:
        self._seen: set[object] = set()
        self.any_text = False

    def members(self, delta: WireDelta) -> dict[str, object]:
        """The reasoning members of one delta; empty when it reasons nothing."""
        text = delta.reasoning_text()
        found: dict[str, object] = {}
        if text:
            self.any_text = True
            found["reasoning"] = text
            found["reasoning_content"] = text
        if delta.reasoning_details:
            found["reasoning_details"] = [self._once(dict(entry)) for entry in delta.reasoning_details]
        elif text:
            found["reasoning_details"] = [self._once(whole_detail(text))]
        return found

    def _once(self, entry: dict[str, object]) -> dict[str, object]:
        place = entry.get("index", 0)
        key = place if isinstance(place, int) else 0
        if key not in self._seen:
            if len(self._seen) < 64:
                self._seen.add(key)
            return entry
        return {name: value for name, value in entry.items() if name not in ("id", "format", "signature")}
