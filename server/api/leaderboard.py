"""`/v1/leaderboard` and `/v1/network/totals`: public sums over all machine owners, under pseudonyms, cached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from quart import Blueprint, request

from protocol.api.errors import invalid_request
from server.api.gate import answer_store_outage
from server.api.json_answer import timestamp
from server.api.public_answer import public_answer
from server.billing.leaderboard import MAX_ENTRIES, METRICS, leaderboard, network_totals, period_start
from server.rewards.pseudonyms import readable
from server.rewards.public_cache import PublicCache
from server.rewards.report_query import period

if TYPE_CHECKING:
    from quart.wrappers import Response

    from server.billing.leaderboard import LeaderboardEntry, Metric, NetworkTotals, Period
    from server.store import Store

DEFAULT_ENTRIES: Final = 50
BOARD_SECONDS: Final = 300.0
TOTALS_SECONDS: Final = 60.0
CLIENT_SECONDS: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderboardServices:
    """`secret` keys the pseudonyms; `clock` is monotonic seconds, `wall_clock` microseconds."""

    store: Store
    secret: bytes = field(repr=False)
    clock: Callable[[], float]
    wall_clock: Callable[[], int]


@dataclass(frozen=True, slots=True)
class _Board:
    entries: list[dict[str, object]]
    updated_at: str | None


def leaderboard_blueprint(services: LeaderboardServices) -> Blueprint:
    """Serve both to anybody: five minutes and one minute old at most, with an ETag."""
    blueprint = Blueprint("leaderboard", __name__)
    answer_store_outage(blueprint)
    boards: PublicCache[_Board] = PublicCache(seconds=BOARD_SECONDS, clock=services.clock)
    totals: PublicCache[dict[str, object]] = PublicCache(seconds=TOTALS_SECONDS, clock=services.clock)

    @blueprint.get("/v1/leaderboard")
    async def board() -> Response:
        metric, window, limit = _metric(), period(request.args), _limit()
        found = await boards.get(f"{metric} {window}", lambda: _read_board(services, metric, window))
        shown = {
            "metric": metric,
            "window": window,
            "entries": found.entries[:limit],
            "updated_at": found.updated_at,
        }
        return public_answer(shown, seconds=CLIENT_SECONDS)

    @blueprint.get("/v1/network/totals")
    async def network() -> Response:
        window = period(request.args)
        return public_answer(await totals.get(window, lambda: _read_totals(services, window)), seconds=CLIENT_SECONDS)

    return blueprint


async def _read_board(services: LeaderboardServices, metric: Metric, window: Period) -> _Board:
    now = services.wall_clock()
    entries = await services.store.statistics(
        lambda tx: leaderboard(
            tx, metric=metric, since=period_start(window, now), limit=MAX_ENTRIES, secret=services.secret
        )
    )
    return _Board([_entry(entry) for entry in entries], timestamp(now))


async def _read_totals(services: LeaderboardServices, window: Period) -> dict[str, object]:
    now = services.wall_clock()
    found = await services.store.statistics(lambda tx: network_totals(tx, since=period_start(window, now)))
    return {
        "window": window,
        **_money(found),
        "tokens": found.tokens,
        "jobs": found.jobs,
        "active_accounts": found.active_accounts,
        "updated_at": timestamp(now),
    }


def _entry(entry: LeaderboardEntry) -> dict[str, object]:
    return {
        "rank": entry.rank,
        "pseudonym": readable(entry.pseudonym),
        **_money(entry),
        "tokens": entry.tokens,
        "jobs": entry.jobs,
    }


def _money(found: LeaderboardEntry | NetworkTotals) -> dict[str, object]:
    return {
        "earnings_micro_usd": found.earnings,
        "work_earnings_micro_usd": found.work,
        "reward_earnings_micro_usd": found.reward,
    }


def _metric() -> Metric:
    wanted = request.args.get("metric", "earnings")
    for known in METRICS:
        if known == wanted:
            return known
    raise invalid_request(f"metric must be one of {', '.join(METRICS)}.", param="metric")


def _limit() -> int:
    """How many entries; whatever is not from 1 to 200 counts as the default."""
    text = request.args.get("limit", "")
    wanted = int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else 0
    return wanted if 1 <= wanted <= MAX_ENTRIES else DEFAULT_ENTRIES
