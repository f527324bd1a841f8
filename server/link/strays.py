"""Which unknown request ids were told to stop lately, so that a provider is not flooded with cancels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from server.link.settings import LinkSettings

MAX_ID_CHARACTERS: Final = 128
"""No attempt of ours has a longer id; a longer one is the provider's invention and is not worth a memo."""


class StrayMemo:
    """The ids of recent cancels with their times, oldest first; allocated with the first one."""

    __slots__ = ("_every", "_limit", "_sent_at")

    def __init__(self, settings: LinkSettings) -> None:
        """Start empty."""
        self._every = settings.stray_cancel_seconds
        self._limit = settings.stray_ids
        self._sent_at: dict[str, float] | None = None

    def __len__(self) -> int:
        return len(self._sent_at or ())

    def should_cancel(self, request_id: str, now: float) -> bool:
        """Tell whether a stray chunk of this id deserves a cancel now, and remember it if so."""
        if len(request_id) > MAX_ID_CHARACTERS:
            return False
        sent_at = None if self._sent_at is None else self._sent_at.get(request_id)
        if sent_at is not None and now - sent_at < self._every:
            return False
        self.note(request_id, now)
        return True

    def answered(self, request_id: str) -> float | None:
        """Forget a cancel whose request has ended; returns when the last one went out, None without one."""
        return None if self._sent_at is None else self._sent_at.pop(request_id, None)

    def note(self, request_id: str, now: float) -> None:
        """Remember that a cancel for this id goes out now; forgets the expired ids, then the oldest."""
        memo = self._sent_at
        if memo is None:
            memo = self._sent_at = {}
        memo.pop(request_id, None)
        while memo:
            oldest = next(iter(memo))
            if len(memo) < self._limit and now - memo[oldest] < self._every:
                break
            del memo[oldest]
        memo[request_id] = now
