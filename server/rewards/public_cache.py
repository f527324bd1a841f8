"""Answers that are the same for everybody: computed once in a while, by one request at a time, kept for the others.

Invariant: the keys are a closed, small set, so the cache needs no bound of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

import trio

from server.store.errors import StoreUnavailable

T = TypeVar("T")
STALE_SECONDS: Final = 900.0
"""How old an answer may be that stands in while the database is away."""


class PublicCache(Generic[T]):
    """`clock` is monotonic seconds, `seconds` how long a value is good."""

    def __init__(self, *, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._values: dict[str, tuple[float, T]] = {}
        self._locks: dict[str, trio.Lock] = {}

    async def get(self, key: str, compute: Callable[[], Awaitable[T]]) -> T:
        """Give the value of a key, at most `seconds` old; raises what `compute` raises.

        Requests that come while it is computed wait for it. When the database is away, an older value is given.
        """
        known = self._fresh(key)
        if known is not None:
            await trio.lowlevel.checkpoint()
            return known[1]
        async with self._locks.setdefault(key, trio.Lock()):
            known = self._fresh(key)
            if known is not None:
                return known[1]
            try:
                value = await compute()
            except StoreUnavailable:
                stale = self._values.get(key)
                if stale is None or self._clock() - stale[0] > STALE_SECONDS:
                    raise
                return stale[1]
            self._values[key] = (self._clock(), value)
            return value

    def _fresh(self, key: str) -> tuple[float, T] | None:
        known = self._values.get(key)
        return known if known is not None and self._clock() - known[0] < self._seconds else None
