"""Content blocks of a streamed message: one open at a time, in the order in which they began, numbered from 0.

Clients index blocks by place and know no interleaving. So what belongs to a later block waits while the open one may
still grow: a tool call until its arguments are a whole JSON value, and the text of a stream whose text is spliced
(`keep_text_open`) until the end.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from protocol.api.anthropic.events import DELTA_END, delta_head, event, json_body
from protocol.api.chat_answer import AnswerTooLarge
from protocol.api.json_prefix import JsonPrefix

if TYPE_CHECKING:
    from protocol.api.deltas import CallFragment

MAX_WAITING_CHARACTERS: Final = 8 * 1024 * 1024
"""Text that may wait for its block's turn; an answer that needs more fails."""
BLOCK_CHARACTERS: Final = 512
"""What a block that waits counts for by itself."""

_TEXT: Final = (b"text_delta", b"text")
_THINKING: Final = (b"thinking_delta", b"thinking")
_JSON: Final = (b"input_json_delta", b"partial_json")


class _Block:
    """A block that is open, or waits."""

    __slots__ = ("call", "head", "kind", "name", "prefix", "waiting")

    def __init__(self, kind: tuple[bytes, bytes], call: str = "") -> None:
        self.kind = kind
        self.call = call
        self.name = ""
        self.head = b""
        """Front of its delta events; empty until it is open."""
        self.waiting: list[str] = []
        self.prefix = JsonPrefix() if kind is _JSON else None

    def start(self) -> dict[str, object]:
        if self.kind is _TEXT:
            return {"type": "text", "text": ""}
        if self.kind is _THINKING:
            return {"type": "thinking", "thinking": "", "signature": ""}
        return {"type": "tool_use", "id": self.call, "name": self.name, "input": {}}


class BlockQueue:
    """Each method gives the bytes that may leave now; may raise AnswerTooLarge."""

    def __init__(self, signature: str, *, keep_text_open: bool) -> None:
        self._signature = signature
        self._keep_text_open = keep_text_open
        self._blocks: deque[_Block] = deque()
        self._calls: dict[int, _Block] = {}
        self._index = 0
        self._waiting = 0
        self.dropped = 0
        """Fragments of calls that were already closed, and arguments that are no JSON."""

    @property
    def open_text_head(self) -> bytes:
        """Front of the delta events of the text block that is open; empty if none is."""
        return self._blocks[0].head if self._blocks and self._blocks[0].kind is _TEXT else b""

    def text(self, text: str) -> bytes:
        """Take visible text."""
        head = self.open_text_head
        if head and (self._keep_text_open or len(self._blocks) == 1):
            return head + json_body(text) + DELTA_END
        return self._add(self._last(_TEXT), text)

    def thinking(self, text: str) -> bytes:
        """Take reasoning."""
        return self._add(self._last(_THINKING), text)

    def call(self, fragment: CallFragment) -> bytes:
        """Take a piece of a tool call."""
        block = self._calls.get(fragment.number)
        if block is None:
            block = self._calls[fragment.number] = self._append(_Block(_JSON, fragment.call_id))
        elif block not in self._blocks:
            self.dropped += bool(fragment.arguments.strip())
            return b""
        block.name = block.name or fragment.name
        arguments = fragment.arguments
        if block.prefix is not None:
            was_broken = block.prefix.broken
            arguments = block.prefix.feed(arguments)
            self.dropped += block.prefix.broken and not was_broken
        return self._add(block, arguments)

    def finish(self) -> bytes:
        """Write what waits and close everything."""
        return self._advance(last=True)

    def _last(self, kind: tuple[bytes, bytes]) -> _Block:
        if not self._blocks or self._blocks[-1].kind is not kind:
            self._append(_Block(kind))
        return self._blocks[-1]

    def _append(self, block: _Block) -> _Block:
        self._blocks.append(block)
        self._waiting += BLOCK_CHARACTERS
        return block

    def _add(self, block: _Block, text: str) -> bytes:
        if text:
            block.waiting.append(text)
            self._waiting += len(text)
        if self._waiting > MAX_WAITING_CHARACTERS:
            raise AnswerTooLarge
        return self._advance(last=False)

    def _advance(self, *, last: bool) -> bytes:
        out: list[bytes] = []
        while self._blocks:
            block = self._blocks[0]
            if not block.head:
                if block.kind is _JSON and not block.name and not last:
                    break  # it cannot be opened without a name
                block.head = delta_head(self._index, *block.kind)
                out.append(event("content_block_start", {"index": self._index, "content_block": block.start()}))
            if block.waiting:
                text = "".join(block.waiting)
                out += (block.head, json_body(text), DELTA_END)
                self._waiting -= len(text)
                block.waiting.clear()
            if not last and (len(self._blocks) == 1 or not self._may_close(block)):
                break
            if block.kind is _THINKING:
                signed = {"type": "signature_delta", "signature": self._signature}
                out.append(event("content_block_delta", {"index": self._index, "delta": signed}))
            out.append(event("content_block_stop", {"index": self._index}))
            self._blocks.popleft()
            self._waiting -= BLOCK_CHARACTERS
            self._index += 1
        return b"".join(out)

    def _may_close(self, block: _Block) -> bool:
        if block.prefix is not None:
            return block.prefix.complete or block.prefix.broken
        return block.kind is _THINKING or not self._keep_text_open
