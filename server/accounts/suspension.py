"""Suspending an account: its credentials are refused, its machines are unlinked, and nothing of it is lost.

Invariant: keys, tokens, sessions and money stay as they are, so that resuming gives everything back. What runs when an
account is suspended ends as it would have, and is paid for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from protocol.api.errors import ApiError

if TYPE_CHECKING:
    from server.store import Tx

MAX_REASON: Final = 500


def account_suspended() -> ApiError:
    """Give the 403 of a good credential whose account is suspended; the operator's reason is not told."""
    text = "This account is suspended; ask the operator of this service."
    return ApiError(403, "forbidden", text, code="account_suspended")


async def suspend(tx: Tx, account_id: str, reason: str, now: int) -> list[str]:
    """Suspend a user, or give another reason for it; give the hashes of the tokens that link machines."""
    await tx.execute(
        "UPDATE users SET suspended_at = COALESCE(suspended_at, $2), suspended_reason = $3, updated_at = $2"
        " WHERE account_id = $1",
        account_id,
        now,
        reason,
    )
    sql = "SELECT token_hash FROM provider_tokens WHERE account_id = $1 AND active = 1"
    return [cast(str, row["token_hash"]) for row in await tx.fetch(sql, account_id)]


async def resume(tx: Tx, account_id: str, now: int) -> None:
    """Let a user in again; machines link themselves at their next connection."""
    await tx.execute(
        "UPDATE users SET suspended_at = NULL, suspended_reason = '', updated_at = $2 WHERE account_id = $1",
        account_id,
        now,
    )


async def is_suspended(tx: Tx, account_id: str) -> bool:
    """Whether an account is suspended; one without a user never is."""
    sql = "SELECT 1 AS found FROM users WHERE account_id = $1 AND suspended_at IS NOT NULL"
    return await tx.row(sql, account_id) is not None
