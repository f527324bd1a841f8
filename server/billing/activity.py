"""What the network did: totals, and the last minutes one by one; private requests do not count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from server.store.engine import Row, Tx

MINUTE: Final = 60_000_000
"""Microseconds."""
MINUTES: Final = 30


@dataclass(frozen=True, slots=True)
class Work:
    """Requests and their tokens."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Prompt and completion."""
        return self.prompt_tokens + self.completion_tokens


async def total_work(tx: Tx) -> Work:
    """Everything since the beginning, some seconds old."""
    row = await tx.row(
        "SELECT total_requests AS requests, total_prompt_tokens AS prompt, total_completion_tokens AS completion"
        " FROM usage_totals WHERE id = 1"
    )
    return Work() if row is None else _work(row)


async def recent_work(tx: Tx, now: int, *, bucket: int = MINUTE, count: int = MINUTES) -> list[tuple[int, Work]]:
    """The last whole buckets, oldest first: when each began (microseconds), and what was done in it."""
    end = now // bucket
    rows = await tx.fetch(
        f"SELECT created_at / {bucket:d} AS number, COUNT(*) AS requests,"
        " CAST(SUM(prompt_tokens) AS BIGINT) AS prompt, CAST(SUM(completion_tokens) AS BIGINT) AS completion"
        f" FROM usage WHERE created_at >= $1 AND created_at < $2 AND private = 0 GROUP BY created_at / {bucket:d}",
        (end - count) * bucket,
        end * bucket,
    )
    found = {cast(int, row["number"]): _work(row) for row in rows}
    return [(number * bucket, found.get(number, Work())) for number in range(end - count, end)]


def _work(row: Row) -> Work:
    return Work(cast(int, row["requests"]), cast(int, row["prompt"]), cast(int, row["completion"]))
