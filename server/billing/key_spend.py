"""What an API key has spent in its window, and the cap on it. Windows are those of the UTC calendar.

Invariant: the cap is checked while the account's balance row is locked. All keys of an account share that row, so two
requests cannot both take the last of a cap.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast, get_args

if TYPE_CHECKING:
    from server.store.engine import Store, Tx

Window: TypeAlias = Literal["none", "daily", "weekly", "monthly"]
"""When the spend of a key starts anew; `none` is its lifetime."""

WINDOWS: Final[tuple[Window, ...]] = get_args(Window)

WINDOW_NAMES: Final[dict[str, str]] = {
    "none": "lifetime",
    "daily": "daily",
    "weekly": "weekly",
    "monthly": "monthly",
}

SETTLED_WITHIN: Final = 120_000_000
"""Usage carries the time at which its transaction ran, and that is over within seconds: what is older than two
minutes does not change any more, even if the clocks of two coordinators differ by a minute."""

REFRESH_AFTER: Final = 2 * SETTLED_WITHIN
MAX_CACHED: Final = 10_000

SPENT_SQL: Final = (
    "(SELECT CAST(COALESCE(SUM(cost_micro_usd), 0) AS BIGINT) FROM usage"
    " WHERE key_id = {key} AND key_id <> '' AND created_at >= {start})"
)
OPEN_SQL: Final = (
    "(SELECT CAST(COALESCE(SUM(amount_micro_usd), 0) AS BIGINT) FROM reservations"
    " WHERE key_id = {key} AND state = 'held')"
)
"""Both want the places of the key's id and of the window's start in the statement."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCap:
    """A key may spend `limit` micro-USD in each window."""

    limit: int
    window: Window


@dataclass(frozen=True, slots=True)
class SpentBefore:
    """What a key spent between the start of its window and a moment that lies far enough back to be final."""

    start: int
    until: int
    spent: int


class SpendCache:
    """Remembers the final part of each capped key's spend, so that a hold sums up only the last minutes.

    It is exact: the rest is summed up in the hold's own transaction.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, SpentBefore] = {}

    async def before(self, key_id: str, window: Window, now: int) -> SpentBefore:
        """The final part of the current window's spend; reads the database when the last answer is minutes old."""
        start, final = window_start(window, now), now - SETTLED_WITHIN
        known = self._known.get(key_id)
        if known is None or known.start != start or known.until > now:
            known = SpentBefore(start, start, 0)
        if final <= start or now - known.until <= REFRESH_AFTER:
            return known
        since = known.until
        more = await self._store.read(lambda tx: _spent_between(tx, key_id, since, final))
        known = SpentBefore(start, final, known.spent + more)
        if len(self._known) >= MAX_CACHED:
            self._known.clear()
        self._known[key_id] = known
        return known


def window_start(window: Window, now: int) -> int:
    """Start of the window that `now` is in: midnight, Monday's midnight, the first of the month; 0 for the lifetime."""
    if window == "none":
        return 0
    moment = _EPOCH + timedelta(microseconds=now)
    start = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if window == "weekly":
        start -= timedelta(days=start.weekday())
    elif window == "monthly":
        start = start.replace(day=1)
    return (start - _EPOCH) // _MICROSECOND


async def spent(tx: Tx, key_id: str, window: Window, now: int) -> int:
    """What a key's settled requests cost in the current window, in micro-USD."""
    sql = f"SELECT {SPENT_SQL.format(key='$1', start='$2')}"
    return cast(int, await tx.value(sql, key_id, window_start(window, now)))


async def committed(tx: Tx, key_id: str, window: Window, now: int, before: SpentBefore | None = None) -> int:
    """What a key has spent in the current window and has reserved for running requests, in micro-USD."""
    since, spent_before = summed_from(window, now, before)
    sql = f"SELECT {SPENT_SQL.format(key='$1', start='$2')} + {OPEN_SQL.format(key='$1')}"
    return spent_before + cast(int, await tx.value(sql, key_id, since))


def summed_from(window: Window, now: int, before: SpentBefore | None) -> tuple[int, int]:
    """From when usage is to be summed up, and what was spent until then; a part of another window does not count."""
    start = window_start(window, now)
    if before is None or before.start != start:
        return start, 0
    return before.until, before.spent


async def _spent_between(tx: Tx, key_id: str, since: int, until: int) -> int:
    return cast(
        int,
        await tx.value(
            "SELECT CAST(COALESCE(SUM(cost_micro_usd), 0) AS BIGINT) FROM usage"
            " WHERE key_id = $1 AND key_id <> '' AND created_at >= $2 AND created_at < $3",
            key_id,
            since,
            until,
        ),
    )
