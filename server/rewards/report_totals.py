"""What one machine earned for one owner: a machine may have had another owner before, whose sums are not his."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from server.billing.reads import EarningsTotal

if TYPE_CHECKING:
    from server.store import Tx


async def machine_total(tx: Tx, account_id: str, provider_key: str) -> EarningsTotal:
    """Sum all earnings of an account's machine."""
    row = await tx.row(
        "SELECT CAST(COALESCE(SUM(CASE WHEN kind = 'work' THEN 1 ELSE 0 END), 0) AS BIGINT) AS jobs,"
        " CAST(COALESCE(SUM(amount_micro_usd), 0) AS BIGINT) AS amount,"
        " CAST(COALESCE(SUM(CASE WHEN kind = 'work' THEN 0 ELSE amount_micro_usd END), 0) AS BIGINT) AS rewards,"
        " CAST(COALESCE(SUM(prompt_tokens), 0) AS BIGINT) AS prompt,"
        " CAST(COALESCE(SUM(completion_tokens), 0) AS BIGINT) AS completion"
        " FROM provider_earnings WHERE provider_key = $1 AND account_id = $2",
        provider_key,
        account_id,
    )
    if row is None:
        return EarningsTotal()
    return EarningsTotal(
        count=cast(int, row["jobs"]),
        amount=cast(int, row["amount"]),
        base_rewards=cast(int, row["rewards"]),
        prompt_tokens=cast(int, row["prompt"]),
        completion_tokens=cast(int, row["completion"]),
    )
