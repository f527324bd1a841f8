"""`GET /v1/network/series`: what the network did, bucket by bucket, for charts; whole buckets alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from quart import Blueprint, request

from protocol.api.errors import invalid_request
from server.api.gate import answer_store_outage
from server.api.json_answer import timestamp
from server.api.public_answer import public_answer
from server.api.stats import work_answer
from server.billing.activity import MINUTE, recent_work
from server.rewards.public_cache import PublicCache

if TYPE_CHECKING:
    from quart.wrappers import Response

    from server.api.stats import StatsServices

FRESH_SECONDS: Final = 30
_HOUR: Final = 60 * MINUTE


class Window(NamedTuple):
    """How many buckets of which length (microseconds) make a window."""

    bucket: int
    buckets: int


WINDOWS: Final = {
    "30m": Window(MINUTE, 30),
    "24h": Window(30 * MINUTE, 48),
    "7d": Window(6 * _HOUR, 28),
    "30d": Window(24 * _HOUR, 30),
}


def network_series_blueprint(services: StatsServices) -> Blueprint:
    """Serve the series to anybody, half a minute old at most."""
    blueprint = Blueprint("network_series", __name__)
    answer_store_outage(blueprint)
    cache: PublicCache[dict[str, object]] = PublicCache(seconds=FRESH_SECONDS, clock=services.clock)

    @blueprint.get("/v1/network/series")
    async def series() -> Response:
        name = request.args.get("window", "24h")
        window = WINDOWS.get(name)
        if window is None:
            raise invalid_request(f"window must be one of {', '.join(WINDOWS)}.", param="window")
        found = await cache.get(name, lambda: _read(services, name, window))
        return public_answer(found, seconds=FRESH_SECONDS)

    return blueprint


async def _read(services: StatsServices, name: str, window: Window) -> dict[str, object]:
    now = services.wall_clock()
    found = await services.store.statistics(lambda tx: recent_work(tx, now, bucket=window.bucket, count=window.buckets))
    return {
        "window": name,
        "bucket_seconds": window.bucket // 1_000_000,
        "buckets": [work_answer(began, work) for began, work in found],
        "end_at": timestamp(now // window.bucket * window.bucket),
    }
