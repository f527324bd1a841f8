"""What people may see of their money: balance, usage and earnings. Read-only queries; micro-USD and microseconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

if TYPE_CHECKING:
    from server.store.engine import Row, Tx

MAX_ROWS: Final = 1000

SummaryKey: TypeAlias = Literal["account", "provider"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRow:
    """One settled request of an account; `model` is the public name, `row_id` the `before` of the next page."""

    row_id: int
    request_id: str
    job_id: str
    key_id: str
    model: str
    build: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cost: int
    private: bool
    created_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Earning:
    """One payment to a machine's owner."""

    row_id: int
    account_id: str
    provider_id: str
    provider_key: str
    job_id: str
    kind: str
    model: str
    amount: int
    prompt_tokens: int
    completion_tokens: int
    created_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EarningsTotal:
    """Sums of all earnings of an account or a machine; `amount` includes base rewards, `count` does not."""

    count: int = 0
    amount: int = 0
    base_rewards: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


async def usage(
    tx: Tx, account_id: str, *, limit: int = 100, before: int | None = None, key_id: str | None = None
) -> list[UsageRow]:
    """The newest settled requests of an account, or of one of its keys; `before` is a row id of an earlier page."""
    values: list[int | str] = [account_id, min(max(limit, 1), MAX_ROWS)]
    where = "account_id = $1"
    if before is not None:
        values.append(before)
        where += f" AND id < ${len(values)}"
    if key_id is not None:
        values.append(key_id)
        where += f" AND key_id = ${len(values)}"
    rows = await tx.fetch(f"SELECT {_USAGE} FROM usage WHERE {where} ORDER BY id DESC LIMIT $2", *values)
    return [_usage_row(row) for row in rows]


async def earnings(
    tx: Tx, *, account_id: str | None = None, provider_key: str | None = None, limit: int = 50, since: int = 0
) -> list[Earning]:
    """The newest earnings of an account, of a machine, or of an account's machine; give at least one of the two."""
    values: list[int | str] = [since, min(max(limit, 1), MAX_ROWS)]
    where = "created_at >= $1"
    for column, wanted in (("account_id", account_id), ("provider_key", provider_key)):
        if wanted is not None:
            values.append(wanted)
            where += f" AND {column} = ${len(values)}"
    if len(values) == 2:
        raise ValueError("Earnings are read for an account or for a machine; name one of them.")
    rows = await tx.fetch(
        f"SELECT {_EARNING} FROM provider_earnings WHERE {where} ORDER BY created_at DESC, id DESC LIMIT $2", *values
    )
    return [_earning(row) for row in rows]


async def earnings_total(tx: Tx, key: str, key_type: SummaryKey) -> EarningsTotal:
    """The running sums of an account or of a machine (by its public key)."""
    row = await tx.row(
        "SELECT total_count, total_micro_usd, total_base_reward_micro_usd, total_prompt_tokens,"
        " total_completion_tokens FROM earnings_summary WHERE key = $1 AND key_type = $2",
        key,
        key_type,
    )
    if row is None:
        return EarningsTotal()
    return EarningsTotal(
        count=cast(int, row["total_count"]),
        amount=cast(int, row["total_micro_usd"]),
        base_rewards=cast(int, row["total_base_reward_micro_usd"]),
        prompt_tokens=cast(int, row["total_prompt_tokens"]),
        completion_tokens=cast(int, row["total_completion_tokens"]),
    )


async def earned_since(tx: Tx, account_id: str, since: int) -> EarningsTotal:
    """Sums of an account's earnings since a moment."""
    row = await tx.row(
        "SELECT CAST(COALESCE(SUM(CASE WHEN kind = 'work' THEN 1 ELSE 0 END), 0) AS BIGINT) AS jobs,"
        " CAST(COALESCE(SUM(amount_micro_usd), 0) AS BIGINT) AS amount,"
        " CAST(COALESCE(SUM(CASE WHEN kind = 'work' THEN 0 ELSE amount_micro_usd END), 0) AS BIGINT) AS rewards,"
        " CAST(COALESCE(SUM(prompt_tokens), 0) AS BIGINT) AS prompt,"
        " CAST(COALESCE(SUM(completion_tokens), 0) AS BIGINT) AS completion"
        " FROM provider_earnings WHERE account_id = $1 AND created_at >= $2",
        account_id,
        since,
    )
    if row is None:
        raise AssertionError("An aggregate has one row.")
    return EarningsTotal(
        count=cast(int, row["jobs"]),
        amount=cast(int, row["amount"]),
        base_rewards=cast(int, row["rewards"]),
        prompt_tokens=cast(int, row["prompt"]),
        completion_tokens=cast(int, row["completion"]),
    )


async def owns_machine(tx: Tx, account_id: str, provider_key: str) -> bool:
    """Whether an account ever earned with, or is linked to, the machine of a public key."""
    found = await tx.value(
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM provider_earnings WHERE provider_key = $1 AND account_id = $2)"
        " OR EXISTS (SELECT 1 FROM provider_sessions WHERE provider_key = $1 AND account_id = $2)",
        provider_key,
        account_id,
    )
    return found is not None


_USAGE: Final = (
    "id, request_id, job_id, key_id, model, public_model, prompt_tokens, cached_tokens, completion_tokens,"
    " reasoning_tokens, cost_micro_usd, private, created_at"
)
_EARNING: Final = (
    "id, account_id, provider_id, provider_key, job_id, kind, model, amount_micro_usd, prompt_tokens,"
    " completion_tokens, created_at"
)


def _usage_row(row: Row) -> UsageRow:
    return UsageRow(
        row_id=cast(int, row["id"]),
        request_id=cast(str, row["request_id"]),
        job_id=cast(str, row["job_id"]),
        key_id=cast(str, row["key_id"]),
        model=cast(str, row["public_model"]) or cast(str, row["model"]),
        build=cast(str, row["model"]),
        prompt_tokens=cast(int, row["prompt_tokens"]),
        cached_tokens=cast(int, row["cached_tokens"]),
        completion_tokens=cast(int, row["completion_tokens"]),
        reasoning_tokens=cast(int, row["reasoning_tokens"]),
        cost=cast(int, row["cost_micro_usd"]),
        private=bool(row["private"]),
        created_at=cast(int, row["created_at"]),
    )


def _earning(row: Row) -> Earning:
    return Earning(
        row_id=cast(int, row["id"]),
        account_id=cast(str, row["account_id"]),
        provider_id=cast(str, row["provider_id"]),
        provider_key=cast(str, row["provider_key"]),
        job_id=cast(str, row["job_id"]),
        kind=cast(str, row["kind"]),
        model=cast(str, row["model"]),
        amount=cast(int, row["amount_micro_usd"]),
        prompt_tokens=cast(int, row["prompt_tokens"]),
        completion_tokens=cast(int, row["completion_tokens"]),
        created_at=cast(int, row["created_at"]),
    )
