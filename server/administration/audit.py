"""The audit of operators' acts: who did what to whom, and what it was before and after.

Invariant: a row is written in the transaction of the act itself, so there is neither an act without a row nor a row
without an act. Rows hold no secret.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias, cast

if TYPE_CHECKING:
    from server.store import Tx

MAX_LISTED: Final = 1000
Facts: TypeAlias = Mapping[str, object]
"""Plain JSON data without secrets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """One act; `at` in microseconds."""

    id: int
    at: int
    actor: str
    action: str
    target: str
    before: Facts
    after: Facts
    outcome: str


async def note(
    tx: Tx,
    *,
    at: int,
    actor: str,
    action: str,
    target: str,
    before: Facts | None = None,
    after: Facts | None = None,
    outcome: str = "done",
    again: bool = False,
) -> None:
    """Write the row of an act.

    `again`: the transaction is run once more. If that is because the answer to its COMMIT was lost, the row is there.
    """
    if again:
        sql = "SELECT 1 AS found FROM admin_audit WHERE at = $1 AND actor = $2 AND action = $3 AND target = $4 LIMIT 1"
        if await tx.row(sql, at, actor, action, target) is not None:
            return
    await tx.execute(
        "INSERT INTO admin_audit (at, actor, action, target, before, after, outcome)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7)",
        at,
        actor,
        action,
        target,
        json.dumps(dict(before or {}), ensure_ascii=False),
        json.dumps(dict(after or {}), ensure_ascii=False),
        outcome,
    )


async def newest(tx: Tx, limit: int) -> list[AuditRow]:
    """List the newest acts, at most 1,000."""
    sql = "SELECT id, at, actor, action, target, before, after, outcome FROM admin_audit ORDER BY id DESC LIMIT $1"
    return [
        AuditRow(
            id=cast(int, row["id"]),
            at=cast(int, row["at"]),
            actor=cast(str, row["actor"]),
            action=cast(str, row["action"]),
            target=cast(str, row["target"]),
            before=json.loads(cast(str, row["before"])),
            after=json.loads(cast(str, row["after"])),
            outcome=cast(str, row["outcome"]),
        )
        for row in await tx.fetch(sql, min(max(limit, 1), MAX_LISTED))
    ]
