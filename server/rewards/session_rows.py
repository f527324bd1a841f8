"""The table of provider sessions: when which machine was connected. Microseconds since the epoch.

Invariant: a session that ended without a word counts for `OPEN_GRACE_US` after it was last heard of, both while its row
is open and once it was closed for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from server.rewards.uptime import OPEN_GRACE_US, Interval

if TYPE_CHECKING:
    from server.store import Tx

BATCH: Final = 200
LOST: Final = "lost"
"""Reason of a session whose end nobody wrote down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """One connection of a machine; `disconnected_at` is None while it lasts."""

    session_id: str
    provider_key: str
    account_id: str
    serial_hash: str
    connected_at: int
    last_seen: int
    disconnected_at: int | None = None
    reason: str = ""


async def store_sessions(tx: Tx, rows: Sequence[SessionRow]) -> None:
    """Write at most `BATCH` sessions as they are now; whoever holds a connection owns its row."""
    marks: list[str] = []
    values: list[int | str | None] = []
    for row in rows:
        n = len(values)
        marks.append("(" + ", ".join(f"${n + offset}" for offset in range(1, 9)) + ")")
        values += [
            row.session_id,
            row.provider_key,
            row.account_id,
            row.serial_hash,
            row.connected_at,
            row.last_seen,
            row.disconnected_at,
            row.reason,
        ]
    await tx.execute(
        "INSERT INTO provider_sessions (session_id, provider_key, account_id, serial_hash, connected_at, last_seen,"
        f" disconnected_at, disconnect_reason) VALUES {', '.join(marks)} ON CONFLICT (session_id) DO UPDATE SET"
        " provider_key = excluded.provider_key, account_id = excluded.account_id,"
        " serial_hash = excluded.serial_hash, last_seen = excluded.last_seen,"
        " disconnected_at = excluded.disconnected_at, disconnect_reason = excluded.disconnect_reason",
        *values,
    )


async def close_lost(tx: Tx, now: int, *, silent_since: int) -> int:
    """Close the open sessions that were last heard of before a moment; returns how many."""
    return await tx.execute(
        "UPDATE provider_sessions SET disconnect_reason = $4, disconnected_at ="
        " CASE WHEN last_seen + CAST($3 AS BIGINT) < CAST($1 AS BIGINT)"
        " THEN last_seen + CAST($3 AS BIGINT) ELSE CAST($1 AS BIGINT) END"
        " WHERE disconnected_at IS NULL AND last_seen < $2",
        now,
        silent_since,
        OPEN_GRACE_US,
        LOST,
    )


async def sessions_within(tx: Tx, start: int, end: int) -> dict[str, list[Interval]]:
    """Give the sessions that touch a period, by the machine's key."""
    rows = await tx.fetch(
        "SELECT provider_key, connected_at, last_seen, disconnected_at FROM provider_sessions"
        " WHERE last_seen >= $1 AND connected_at < $2 AND provider_key <> ''",
        start - OPEN_GRACE_US,
        end,
    )
    found: dict[str, list[Interval]] = {}
    for row in rows:
        interval = Interval(
            cast(int, row["connected_at"]), cast(int, row["last_seen"]), cast("int | None", row["disconnected_at"])
        )
        found.setdefault(cast(str, row["provider_key"]), []).append(interval)
    return found
