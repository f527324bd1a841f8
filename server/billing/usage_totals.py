"""The whole network's counters of requests and tokens, written by a background task.

Invariant: they are statistics, not money. One hot row in every settlement would make settlements wait for each other,
so that deltas are added every second; what a crash loses, `recompute` brings back from the usage rows.
Owner: the one task in `run`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from server.store.errors import StoreUnavailable

if TYPE_CHECKING:
    from server.store.engine import Store, Tx

FLUSH_SECONDS: Final = 1.0


class UsageTotals:
    """Collects deltas and writes them once a second."""

    def __init__(self, store: Store, *, flush_seconds: float = FLUSH_SECONDS) -> None:
        self._store = store
        self._flush_seconds = flush_seconds
        self._requests = 0
        self._prompt = 0
        self._completion = 0

    def add(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Count one settled request that is part of the public statistics."""
        self._requests += 1
        self._prompt += prompt_tokens
        self._completion += completion_tokens

    async def run(self) -> None:
        """Write until cancelled, and once more then."""
        try:
            while True:
                await trio.sleep(self._flush_seconds)
                await self.flush()
        finally:
            with trio.move_on_after(2, shield=True):
                await self.flush()

    async def flush(self) -> None:
        """Add what was collected; a database that is away leaves it for the next time."""
        requests, prompt, completion = self._requests, self._prompt, self._completion
        if not requests:
            return
        self._requests = self._prompt = self._completion = 0
        try:
            await self._store.write(lambda tx: add_totals(tx, requests, prompt, completion))
        except StoreUnavailable:
            self._requests += requests
            self._prompt += prompt
            self._completion += completion


async def add_totals(tx: Tx, requests: int, prompt_tokens: int, completion_tokens: int) -> None:
    """Add to the one row."""
    await tx.execute(
        "INSERT INTO usage_totals (id, total_requests, total_prompt_tokens, total_completion_tokens)"
        " VALUES (1, $1, $2, $3) ON CONFLICT (id) DO UPDATE SET"
        " total_requests = usage_totals.total_requests + excluded.total_requests,"
        " total_prompt_tokens = usage_totals.total_prompt_tokens + excluded.total_prompt_tokens,"
        " total_completion_tokens = usage_totals.total_completion_tokens + excluded.total_completion_tokens",
        requests,
        prompt_tokens,
        completion_tokens,
    )


async def recompute(tx: Tx) -> None:
    """Set the row from the usage rows; private ones do not count."""
    await tx.execute(
        "INSERT INTO usage_totals (id, total_requests, total_prompt_tokens, total_completion_tokens)"
        " SELECT 1, COUNT(*), CAST(COALESCE(SUM(prompt_tokens), 0) AS BIGINT),"
        " CAST(COALESCE(SUM(completion_tokens), 0) AS BIGINT) FROM usage WHERE private = 0"
        " ON CONFLICT (id) DO UPDATE SET total_requests = excluded.total_requests,"
        " total_prompt_tokens = excluded.total_prompt_tokens,"
        " total_completion_tokens = excluded.total_completion_tokens"
    )
