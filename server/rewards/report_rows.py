"""Pages of an account's usage and earnings, newest first, for exports; and earnings summed by machine or by model.

A page is found by the moment and the row where the last one ended, along the account's index: however long the history
is, a page costs the same. Micro-USD and microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias, cast

if TYPE_CHECKING:
    from server.store import Row, Tx

PAGE_ROWS: Final = 500
MAX_GROUPS: Final = 10_000
_FOREVER: Final = 2**62

GroupBy: TypeAlias = Literal["device", "model"]
_COLUMNS: Final[dict[GroupBy, str]] = {"device": "provider_key", "model": "model"}


class Cursor(NamedTuple):
    """Where a page ended: rows before this moment, and before this row at the same moment, come next."""

    created_at: int = _FOREVER
    row_id: int = _FOREVER


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A period, from `since` up to but not including `until`."""

    since: int = 0
    until: int = _FOREVER

    @property
    def start(self) -> Cursor:
        """Where its first page begins."""
        return Cursor(self.until, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageLine:
    """One settled request; `model` is the public name."""

    row_id: int
    created_at: int
    job_id: str
    key_id: str
    model: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cost: int
    private: bool

    @property
    def cursor(self) -> Cursor:
        """Where a page ends that ends here."""
        return Cursor(self.created_at, self.row_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class EarningLine:
    """One payment to the owner of a machine; `kind` is `work` or `base_reward`."""

    row_id: int
    created_at: int
    provider_id: str
    provider_key: str
    job_id: str
    kind: str
    model: str
    amount: int
    prompt_tokens: int
    completion_tokens: int

    @property
    def cursor(self) -> Cursor:
        """Where a page ends that ends here."""
        return Cursor(self.created_at, self.row_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class EarningGroup:
    """What a machine or a model brought an account; `base_rewards` is part of `amount`, `jobs` counts work only."""

    name: str
    display_name: str
    jobs: int
    amount: int
    base_rewards: int
    prompt_tokens: int
    completion_tokens: int
    last_at: int


async def usage_page(
    tx: Tx, account_id: str, after: Cursor, *, since: int, key_id: str | None = None, limit: int = PAGE_ROWS
) -> list[UsageLine]:
    """Give the next requests of an account, or of one of its keys, back to `since`."""
    by_key = "" if key_id is None else " AND key_id = $6"
    rows = await tx.fetch(
        "SELECT id, created_at, job_id, request_id, key_id, model, public_model, prompt_tokens, cached_tokens,"
        " completion_tokens, reasoning_tokens, cost_micro_usd, private FROM usage"
        f" WHERE account_id = $1 AND {_BACKWARD}{by_key} ORDER BY created_at DESC, id DESC LIMIT $5",
        account_id,
        *after,
        since,
        limit,
        *(() if key_id is None else (key_id,)),
    )
    return [_usage_line(row) for row in rows]


async def earnings_page(
    tx: Tx, account_id: str, after: Cursor, *, since: int, provider_key: str | None = None, limit: int = PAGE_ROWS
) -> list[EarningLine]:
    """Give the next earnings of an account, or of one of its machines, back to `since`."""
    by_key = "" if provider_key is None else " AND provider_key = $6"
    rows = await tx.fetch(
        "SELECT id, created_at, provider_id, provider_key, job_id, kind, model, amount_micro_usd, prompt_tokens,"
        f" completion_tokens FROM provider_earnings WHERE account_id = $1 AND {_BACKWARD}{by_key}"
        " ORDER BY created_at DESC, id DESC LIMIT $5",
        account_id,
        *after,
        since,
        limit,
        *(() if provider_key is None else (provider_key,)),
    )
    return [_earning_line(row) for row in rows]


async def earning_groups(tx: Tx, account_id: str, by: GroupBy, span: Span) -> list[EarningGroup]:
    """Sum an account's earnings of a period by machine or by model, the largest first; at most 10,000."""
    column = _COLUMNS[by]
    rows = await tx.fetch(
        f"SELECT {column} AS name, CAST(SUM(CASE WHEN kind = 'work' THEN 1 ELSE 0 END) AS BIGINT) AS jobs,"
        " CAST(SUM(amount_micro_usd) AS BIGINT) AS amount,"
        " CAST(SUM(CASE WHEN kind = 'work' THEN 0 ELSE amount_micro_usd END) AS BIGINT) AS rewards,"
        " CAST(SUM(prompt_tokens) AS BIGINT) AS prompt, CAST(SUM(completion_tokens) AS BIGINT) AS completion,"
        f" MAX(created_at) AS last_at FROM provider_earnings"
        f" WHERE account_id = $1 AND created_at >= $2 AND created_at < $3 GROUP BY {column}"
        f" ORDER BY amount DESC, name LIMIT $4",
        account_id,
        span.since,
        span.until,
        MAX_GROUPS,
    )
    names = await _display_names(tx, account_id) if by == "device" else {}
    return [
        EarningGroup(
            name=cast(str, row["name"]),
            display_name=names.get(cast(str, row["name"]), ""),
            jobs=cast(int, row["jobs"]),
            amount=cast(int, row["amount"]),
            base_rewards=cast(int, row["rewards"]),
            prompt_tokens=cast(int, row["prompt"]),
            completion_tokens=cast(int, row["completion"]),
            last_at=cast(int, row["last_at"]),
        )
        for row in rows
    ]


_BACKWARD: Final = "created_at <= $2 AND (created_at < $2 OR id < $3) AND created_at >= $4"


async def _display_names(tx: Tx, account_id: str) -> dict[str, str]:
    rows = await tx.fetch(
        "SELECT public_key, display_name FROM providers WHERE account_id = $1 AND public_key <> ''"
        " ORDER BY last_seen LIMIT $2",
        account_id,
        MAX_GROUPS,
    )
    return {cast(str, row["public_key"]): cast(str, row["display_name"]) for row in rows}


def _usage_line(row: Row) -> UsageLine:
    return UsageLine(
        row_id=cast(int, row["id"]),
        created_at=cast(int, row["created_at"]),
        job_id=cast(str, row["job_id"]) or cast(str, row["request_id"]),
        key_id=cast(str, row["key_id"]),
        model=cast(str, row["public_model"]) or cast(str, row["model"]),
        prompt_tokens=cast(int, row["prompt_tokens"]),
        cached_tokens=cast(int, row["cached_tokens"]),
        completion_tokens=cast(int, row["completion_tokens"]),
        reasoning_tokens=cast(int, row["reasoning_tokens"]),
        cost=cast(int, row["cost_micro_usd"]),
        private=bool(row["private"]),
    )


def _earning_line(row: Row) -> EarningLine:
    return EarningLine(
        row_id=cast(int, row["id"]),
        created_at=cast(int, row["created_at"]),
        provider_id=cast(str, row["provider_id"]),
        provider_key=cast(str, row["provider_key"]),
        job_id=cast(str, row["job_id"]),
        kind=cast(str, row["kind"]),
        model=cast(str, row["model"]),
        amount=cast(int, row["amount_micro_usd"]),
        prompt_tokens=cast(int, row["prompt_tokens"]),
        completion_tokens=cast(int, row["completion_tokens"]),
    )
