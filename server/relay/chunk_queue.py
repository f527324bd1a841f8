"""The bytes between a provider's reader and a consumer's writer: bounded by chunks and bytes, never lossy.

Invariant: what `take` returned, joined, is at any moment a prefix of what `put` was given.
Full queue: chunks spill into a second, smaller list while one grace window runs; a full spill, a window that passed
with chunks still spilled, or a second overflow ends the stream.
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
    spill_bytes: int = 1024 * 1024


class ChunkQueue:
    """Ready bytes of one answer, in order. A single put larger than the bound is taken when nothing waits."""

    def __init__(self, bounds: QueueBounds) -> None:
        self._bounds = bounds
        self._entries: deque[tuple[bytes, int]] = deque()
        self._offset = 0
        self._spill: deque[tuple[bytes, int]] = deque()
        self._spill_bytes = 0
        self._spill_chunks = 0
        self._grace_used = False
        self.bytes = 0
        self.chunks = 0

    def __bool__(self) -> bool:
        return bool(self._entries)

    def __repr__(self) -> str:
        return f"<ChunkQueue chunks={self.chunks} bytes={self.bytes} spilled={self._spill_chunks}>"

    @property
    def spilling(self) -> bool:
        """True while chunks wait beyond the bound."""
        return bool(self._spill)

    def put(self, data: bytes, chunks: int) -> Put:
        """Append bytes that hold `chunks` chunks."""
        if not self._spill:
            if self._fits(len(data), chunks):
                self._append(data, chunks)
                return Put.QUEUED
            if self._grace_used:
                return Put.OVERFLOW
        if self._spill_bytes + len(data) > self._bounds.spill_bytes:
            return Put.OVERFLOW
        # One read of the provider's socket may hold more chunks than the spill: a first run is bounded by bytes alone.
        if self._spill and self._spill_chunks + chunks > self._bounds.spill_chunks:
            return Put.OVERFLOW
        self._grace_used = True
        self._spill.append((data, chunks))
        self._spill_bytes += len(data)
        self._spill_chunks += chunks
        return Put.SPILLED

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
        while self._spill and self._fits(len(self._spill[0][0]), self._spill[0][1]):
            self._unspill()
        return b"".join(parts)

    def clear(self) -> None:
        """Forget everything; nobody reads it any more."""
        self._entries.clear()
        self._spill.clear()
        self._offset = self.bytes = self.chunks = self._spill_bytes = self._spill_chunks = 0

    def _fits(self, size: int, chunks: int) -> bool:
        if not self._entries:
            return True
        return self.bytes + size <= self._bounds.bytes and self.chunks + chunks <= self._bounds.chunks

    def _append(self, data: bytes, chunks: int) -> None:
        if data:
            self._entries.append((data, chunks))
            self.bytes += len(data)
            self.chunks += chunks

    def _unspill(self) -> None:
        data, chunks = self._spill.popleft()
        self._spill_bytes -= len(data)
        self._spill_chunks -= chunks
        self._append(data, chunks)
