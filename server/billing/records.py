"""What a settlement writes beside the money: the usage row, the machine owner's earning and its running sums."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from server.billing.ledger import COUNTER_ACCOUNTS

if TYPE_CHECKING:
    from server.billing.settle import Bill
    from server.store.engine import Tx


async def record_usage(tx: Tx, bill: Bill, cost: int, now: int, *, private: bool) -> None:
    """Write the usage row; private ones (own machine, free) stay out of public statistics."""
    await tx.execute(
        "INSERT INTO usage (request_id, account_id, key_id, provider_id, model, public_model, prompt_tokens,"
        " cached_tokens, completion_tokens, reasoning_tokens, cost_micro_usd, private, created_at, job_id)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        bill.request_id,
        bill.account_id,
        bill.key_id,
        bill.provider_id,
        bill.model,
        bill.public_model,
        bill.tokens.prompt,
        bill.tokens.cached,
        bill.tokens.completion,
        bill.reasoning_tokens,
        cost,
        int(private),
        now,
        bill.job_id,
    )


async def record_earning(tx: Tx, bill: Bill, owner: str, amount: int, now: int) -> None:
    """Write the earning of the serving machine and add it to the sums of machine and owner, in two statements."""
    await tx.execute(
        "INSERT INTO provider_earnings (account_id, provider_id, provider_key, job_id, kind, model, amount_micro_usd,"
        " prompt_tokens, completion_tokens, created_at) VALUES ($1, $2, $3, $4, 'work', $5, $6, $7, $8, $9)",
        owner,
        bill.provider_id,
        bill.provider_key,
        bill.request_id,
        bill.model,
        amount,
        bill.tokens.prompt,
        bill.tokens.completion,
        now,
    )
    # No sum for counter-accounts: all machines without an owner would wait for that one row.
    keys = [owner, "account"] if owner not in COUNTER_ACCOUNTS else []
    keys += [bill.provider_key, "provider"] if bill.provider_key else []
    if keys:
        tokens = bill.tokens
        await tx.execute(_add_to_sums(len(keys) // 2), amount, tokens.prompt, tokens.completion, now, *keys)


@lru_cache
def _add_to_sums(count: int) -> str:
    rows = ", ".join(f"(${n}, ${n + 1}, 1, $1, $2, $3, $4)" for n in range(5, 5 + 2 * count, 2))
    return (
        "INSERT INTO earnings_summary (key, key_type, total_count, total_micro_usd, total_prompt_tokens,"
        f" total_completion_tokens, updated_at) VALUES {rows} ON CONFLICT (key, key_type) DO UPDATE SET"
        " total_count = earnings_summary.total_count + 1,"
        " total_micro_usd = earnings_summary.total_micro_usd + excluded.total_micro_usd,"
        " total_prompt_tokens = earnings_summary.total_prompt_tokens + excluded.total_prompt_tokens,"
        " total_completion_tokens = earnings_summary.total_completion_tokens + excluded.total_completion_tokens,"
        " updated_at = excluded.updated_at"
    )
