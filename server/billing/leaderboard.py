"""Public sums over all machine owners: the leaderboard and the network's totals. Read-only; no account is named.

Work is what machines were paid (jobs and base rewards), reward is what accounts got for referrals or as a prize.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast, get_args

from server.billing.ledger import COUNTER_ACCOUNTS

if TYPE_CHECKING:
    from server.store.engine import Row, Tx

Metric: TypeAlias = Literal["earnings", "tokens", "jobs"]
Period: TypeAlias = Literal["24h", "7d", "30d", "all"]

METRICS: Final[tuple[Metric, ...]] = get_args(Metric)
PERIODS: Final[tuple[Period, ...]] = get_args(Period)
MAX_ENTRIES: Final = 200

_HOUR: Final = 3_600_000_000
_LENGTHS: Final[dict[Period, int]] = {"24h": 24 * _HOUR, "7d": 168 * _HOUR, "30d": 720 * _HOUR}
_PSEUDONYM_CHARACTERS: Final = 12
_COUNTERS: Final = ", ".join(f"'{account}'" for account in sorted(COUNTER_ACCOUNTS))


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderboardEntry:
    """One owner; micro-USD."""

    rank: int
    pseudonym: str
    work: int
    reward: int
    tokens: int
    jobs: int

    @property
    def earnings(self) -> int:
        """Work and reward."""
        return self.work + self.reward


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkTotals:
    """Sums over all owners; micro-USD."""

    work: int
    reward: int
    tokens: int
    jobs: int
    active_accounts: int

    @property
    def earnings(self) -> int:
        """Work and reward."""
        return self.work + self.reward


def period_start(period: Period, now: int) -> int:
    """Where a period that ends now begins; 0 for all time."""
    length = _LENGTHS.get(period)
    return 0 if length is None else now - length


def pseudonym(secret: bytes, account_id: str) -> str:
    """A name that is the same every time and tells nothing without the secret."""
    return hmac.new(secret, account_id.encode(), hashlib.sha256).hexdigest()[:_PSEUDONYM_CHARACTERS]


async def leaderboard(tx: Tx, *, metric: Metric, since: int, limit: int, secret: bytes) -> list[LeaderboardEntry]:
    """The first owners by a metric; equal ones by account."""
    order = {"earnings": "work + reward", "tokens": "tokens", "jobs": "jobs"}[metric]
    rows = await tx.fetch(
        f"SELECT account_id, work, reward, tokens, jobs FROM ({_PER_ACCOUNT}) p WHERE {order} > 0"
        f" ORDER BY {order} DESC, account_id LIMIT $2",
        since,
        min(max(limit, 1), MAX_ENTRIES),
    )
    return [
        LeaderboardEntry(rank=rank, pseudonym=pseudonym(secret, cast(str, row["account_id"])), **_sums(row))
        for rank, row in enumerate(rows, 1)
    ]


async def network_totals(tx: Tx, *, since: int) -> NetworkTotals:
    """Sums over everybody who earned since a moment."""
    row = await tx.row(
        "SELECT CAST(COALESCE(SUM(work), 0) AS BIGINT) AS work, CAST(COALESCE(SUM(reward), 0) AS BIGINT) AS reward,"
        " CAST(COALESCE(SUM(tokens), 0) AS BIGINT) AS tokens, CAST(COALESCE(SUM(jobs), 0) AS BIGINT) AS jobs,"
        f" COUNT(*) AS accounts FROM ({_PER_ACCOUNT}) p",
        since,
    )
    if row is None:
        raise AssertionError("An aggregate has one row.")
    return NetworkTotals(active_accounts=cast(int, row["accounts"]), **_sums(row))


_PER_ACCOUNT: Final = (
    "SELECT account_id, CAST(SUM(work) AS BIGINT) AS work, CAST(SUM(reward) AS BIGINT) AS reward,"
    " CAST(SUM(tokens) AS BIGINT) AS tokens, CAST(SUM(jobs) AS BIGINT) AS jobs FROM ("
    "SELECT account_id, amount_micro_usd AS work, 0 AS reward, prompt_tokens + completion_tokens AS tokens,"
    " CASE WHEN kind = 'work' THEN 1 ELSE 0 END AS jobs FROM provider_earnings WHERE created_at >= $1"
    " UNION ALL SELECT account_id, 0 AS work, amount_micro_usd AS reward, 0 AS tokens, 0 AS jobs FROM ledger_entries"
    " WHERE entry_type IN ('referral_reward', 'admin_reward') AND created_at >= $1 AND amount_micro_usd > 0"
    f") q WHERE account_id NOT IN ({_COUNTERS}) GROUP BY account_id"
)


def _sums(row: Row) -> dict[str, int]:
    return {name: cast(int, row[name]) for name in ("work", "reward", "tokens", "jobs")}
