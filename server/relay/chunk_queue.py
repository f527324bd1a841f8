"""The bytes between a provider's reader and a consumer's writer: bounded by chunks and bytes, never lossy.

Invariant: what `take` returned, joined, is at any moment a prefix of what `put` was given.
Full queue: chunks spill into a second list while a grace window runs; a full spill, or a window that passed with the
same spill still there, ends the stream. One read of a provider's socket may hold hundreds of chunks, so chunks are
counted only where they tell something of the consumer: bytes alone bound the queue while nobody can read it yet, and
the spill until the consumer's task had a turn.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum


class Put(Enum):
    """What became of one put."""

    QUEUED = "queued"
    SPILLED = "spilled"
    """Kept beyond the bound; the grace window runs."""
    OVERFLOW = "overflow"
    """Not kept; the stream is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueBounds:
    """Bounds of one stream's queue and of its spill."""

    chunks: int = 256
    bytes: int = 1024 * 1024
    spill_chunks: int = 64
    """Chunks that may be spilled without the consumer taking anything, once its task had a turn."""
    spill_bytes: int = 1024 * 1024


class ChunkQueue:
    """Ready bytes of one answer, in order. A single put larger than the bound is taken when nothing waits."""

    def __init__(self, bounds: QueueBounds) -> None:
        self._bounds = bounds
        self._entries: deque[tuple[bytes, int]] = deque()
        self._offset = 0
        self._spill: deque[tuple[bytes, int]] = deque()
        self._spill_bytes = 0
        self._untaken = 0
        self._had_turn = False
        self.attended = True
        """False while nobody can read yet: then only bytes are bounded."""
        self.spills = 0
        """How often chunks began to wait beyond the bound."""
        self.bytes = 0
        self.chunks = 0

    def __bool__(self) -> bool:
        return bool(self._entries)

    def __repr__(self) -> str:
        return f"<ChunkQueue chunks={self.chunks} bytes={self.bytes} spilled={self._spill_bytes}>"

    @property
    def spilling(self) -> bool:
        """True while chunks wait beyond the bound."""
        return bool(self._spill)

    def put(self, data: bytes, chunks: int) -> Put:
        """Append bytes that hold `chunks` chunks."""
        if not self._spill and self._fits(len(data), chunks):
            self._append(data, chunks)
            return Put.QUEUED
        if self._spill_bytes + len(data) > self._bounds.spill_bytes:
            return Put.OVERFLOW
        if not self._spill:
            self.spills += 1
            self._had_turn = False
            self._untaken = 0
        elif self._had_turn:
            if self._untaken >= self._bounds.spill_chunks:
                return Put.OVERFLOW
            self._untaken += chunks
        self._spill.append((data, chunks))
        self._spill_bytes += len(data)
        return Put.SPILLED

    def turn_over(self) -> None:
        """Note that the consumer's task could take since the spill began: from here on chunks count."""
        self._had_turn = True

    def force(self, data: bytes) -> None:
        """Append the end of an answer behind everything, whatever the bounds say."""
        while self._spill:
            self._unspill()
        self._append(data, 0)

    def take(self, limit: int) -> bytes:
        """Remove and return at most `limit` bytes from the front, b"" when nothing waits."""
        parts: list[bytes] = []
        room = limit
        while self._entries and room > 0:
            data, chunks = self._entries[0]
            part = data[self._offset : self._offset + room] if self._offset or len(data) > room else data
            self._offset += len(part)
            room -= len(part)
            self.bytes -= len(part)
            parts.append(part)
            if self._offset == len(data):
                self._entries.popleft()
                self._offset = 0
                self.chunks -= chunks
        if parts:
            self._untaken = 0
        while self._spill and self._fits(len(self._spill[0][0]), self._spill[0][1]):
            self._unspill()
        return b"".join(parts)

    def clear(self) -> None:
        """Forget everything; nobody reads it any more."""
        self._entries.clear()
        self._spill.clear()
        self._offset = self.bytes = self.chunks = self._spill_bytes = self._untaken = 0

    def _fits(self, size: int, chunks: int) -> bool:
        if not self._entries:
            return True
        if self.bytes + size > self._bounds.bytes:
            return False
        return not self.attended or self.chunks + chunks <= self._bounds.chunks

    def _append(self, data: bytes, chunks: int) -> None:
        if data:
            self._entries.append((data, chunks))
            self.bytes += len(data)
            self.chunks += chunks

    def _unspill(self) -> None:
        data, chunks = self._spill.popleft()
        self._spill_bytes -= len(data)
        self._append(data, chunks)
