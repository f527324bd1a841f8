"""The response hash: what a provider signs about the text of one answer.

SHA-256 over UTF-8 `request_id:completion_tokens:text`, where text is every content and reasoning delta and every
completed tool call, in emission order. Source: provider rules, terminal signature.
"""

import hashlib
from collections.abc import Mapping
from typing import Final

from protocol.canonical import Canonicalisable, canonical
from protocol.sodium import wipe

_UNIT_SEPARATOR: Final = b"\x1f"


class ResponseHasher:
    """Collects the text of one answer; the token count stands before the text, so the text is kept until the end.

    Invariant: the text lives in one buffer, which `finish` and `wipe` overwrite.
    """

    __slots__ = ("_request_id", "_text")

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id
        self._text = bytearray()

    def add_text(self, delta: str) -> None:
        """Add a content or reasoning delta."""
        self._text += delta.encode()

    def add_tool_call(self, call: Mapping[str, Canonicalisable]) -> None:
        """Add a tool call once, when it is complete: `id`, `type`, `function`; an `index` is left out."""
        members = {name: value for name, value in call.items() if name != "index"}
        self._text += _UNIT_SEPARATOR + b"tool_call:" + canonical(members) + _UNIT_SEPARATOR

    def finish(self, completion_tokens: int) -> str:
        """Give the lower-case hex hash and forget the text."""
        digest = hashlib.sha256(f"{self._request_id}:{completion_tokens}:".encode())
        digest.update(self._text)
        self.wipe()
        return digest.hexdigest()

    def wipe(self) -> None:
        """Overwrite and drop the text, for answers that end without a hash."""
        wipe(self._text)
        self._text.clear()

    def __repr__(self) -> str:
        return f"<ResponseHasher {len(self._text)} bytes>"
