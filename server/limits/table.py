"""Many buckets by key, bounded in number and swept: a bucket that is idle long enough is full, so nothing is lost.

Invariant: at most `max_buckets` are kept; when a new one does not fit, the one that was idle longest goes.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from server.limits.bucket import Rate, TokenBucket

IDLE_SECONDS: Final = 1800.0
SWEEP_SECONDS: Final = 300.0
MAX_BUCKETS: Final = 200_000


class BucketTable:
    """Buckets by key, made full on first sight. An empty key is never limited: ask `get` only for real ones."""

    def __init__(self, *, max_buckets: int = MAX_BUCKETS) -> None:
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()
        self._max_buckets = max_buckets
        self._swept_at: float | None = None

    def __len__(self) -> int:
        return len(self._buckets)

    def get(self, key: str, rate: Rate, now: float) -> TokenBucket:
        """Give the bucket of `key`, with `rate` from now on."""
        self._sweep_if_due(now)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(rate, now)
            if len(self._buckets) > self._max_buckets:
                self._buckets.popitem(last=False)
            return bucket
        if bucket.rate is not rate and bucket.rate != rate:
            bucket.change_rate(rate, now)
        self._buckets.move_to_end(key)
        return bucket

    def find(self, key: str) -> TokenBucket | None:
        """Give the bucket of `key` if it was used lately; changes nothing."""
        return self._buckets.get(key)

    def sweep(self, now: float) -> int:
        """Drop what nobody asked for in half an hour and is full again; return how many went."""
        self._swept_at = now
        idle = []
        for key, bucket in self._buckets.items():
            if now - bucket.touched_at < IDLE_SECONDS:
                # The order is that of the last use: nothing behind this one has been idle for longer.
                break
            if bucket.level(now) >= bucket.rate.burst:
                idle.append(key)
        for key in idle:
            del self._buckets[key]
        return len(idle)

    def _sweep_if_due(self, now: float) -> None:
        if self._swept_at is None:
            self._swept_at = now
        elif now - self._swept_at >= SWEEP_SECONDS:
            self.sweep(now)
