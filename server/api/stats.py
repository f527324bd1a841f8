"""`GET /v1/stats`: the network in numbers, for everybody; totals come from the books, never from what machines say."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from quart import Blueprint

from server.api.gate import answer_store_outage
from server.api.json_answer import timestamp
from server.api.public_answer import public_answer
from server.billing.activity import recent_work, total_work
from server.registry import current_model, status
from server.registry.views import total_memory_gb
from server.relay.provider_headers import clean
from server.rewards.public_cache import PublicCache

if TYPE_CHECKING:
    from quart.wrappers import Response

    from server.billing.activity import Work
    from server.registry import Registry, Session
    from server.store import Store, Tx

FRESH_SECONDS: Final = 30
_PSEUDONYM_DIGITS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsServices:
    """`secret` keys the machines' pseudonyms; `clock` is monotonic seconds, `wall_clock` microseconds."""

    store: Store
    registry: Registry
    secret: bytes = field(repr=False)
    clock: Callable[[], float]
    wall_clock: Callable[[], int]


def stats_blueprint(services: StatsServices) -> Blueprint:
    """Serve the numbers to anybody, half a minute old at most."""
    blueprint = Blueprint("stats", __name__)
    answer_store_outage(blueprint)
    cache: PublicCache[dict[str, object]] = PublicCache(seconds=FRESH_SECONDS, clock=services.clock)

    @blueprint.get("/v1/stats")
    async def stats() -> Response:
        return public_answer(await cache.get("", lambda: _read(services)), seconds=FRESH_SECONDS)

    return blueprint


async def _read(services: StatsServices) -> dict[str, object]:
    now = services.wall_clock()

    async def look(tx: Tx) -> tuple[Work, list[tuple[int, Work]]]:
        return await total_work(tx), await recent_work(tx, now)

    total, recent = await services.store.statistics(look)
    sessions = [one for one in services.registry.trusted_sessions() if not one.caps.private_only]
    return {
        "total_requests": total.requests,
        "total_prompt_tokens": total.prompt_tokens,
        "total_completion_tokens": total.completion_tokens,
        "total_tokens": total.tokens,
        "avg_tokens_per_request": round(total.tokens / total.requests, 2) if total.requests else 0.0,
        **_fleet(sessions),
        "providers": [_machine(one, services.secret, services.clock()) for one in sessions],
        "models": _models(sessions),
        "time_series": [work_answer(began, work) for began, work in recent],
        "snapshot_at": timestamp(now),
    }


def work_answer(began: int, work: Work) -> dict[str, object]:
    """What was done in one span of time."""
    return {
        "timestamp": timestamp(began),
        "requests": work.requests,
        "prompt_tokens": work.prompt_tokens,
        "completion_tokens": work.completion_tokens,
        "total_tokens": work.tokens,
    }


def _fleet(sessions: list[Session]) -> dict[str, object]:
    machines = [one.caps.hardware for one in sessions]
    return {
        "active_providers": len(sessions),
        "total_gpu_cores": sum(one.gpu_cores for one in machines),
        "total_cpu_cores": sum(one.cpu_cores[0] for one in machines),
        "total_memory_gb": round(sum(total_memory_gb(one) for one in sessions)),
        "total_bandwidth_gbs": round(sum(one.memory_bandwidth_gbs for one in machines), 1),
        "network_capacity_tps": round(sum(_speed(one) for one in sessions), 1),
    }


def _machine(session: Session, secret: bytes, now: float) -> dict[str, object]:
    hardware = session.caps.hardware
    cores, performance, efficiency = hardware.cpu_cores
    return {
        "id": hmac.digest(secret, f"machine:{session.ident.stable_id}".encode(), "sha256").hex()[:_PSEUDONYM_DIGITS],
        "chip": clean(hardware.chip_name),
        "chip_family": clean(hardware.chip_family),
        "chip_tier": clean(hardware.chip_tier),
        "machine_model": clean(hardware.machine_model),
        "memory_gb": int(total_memory_gb(session)),
        "gpu_cores": hardware.gpu_cores,
        "cpu_cores": {"total": cores, "performance": performance, "efficiency": efficiency},
        "memory_bandwidth_gbs": hardware.memory_bandwidth_gbs,
        "status": status(session, now),
        "trust_level": session.trust.level,
        "decode_tps": round(_speed(session), 1),
        "requests_served": session.totals.get("requests_served", 0),
        "tokens_generated": session.totals.get("tokens_generated", 0),
        "models": sorted(session.caps.models),
        "current_model": current_model(session),
    }


def _speed(session: Session) -> float:
    """Tokens a second of one request: as measured lately, else as registered."""
    return max((slot.tps_decode for slot in session.slots.values()), default=0.0) or session.caps.decode_tps


def _models(sessions: Iterable[Session]) -> list[dict[str, object]]:
    counts: dict[str, int] = {}
    for session in sessions:
        for model in session.caps.models:
            counts[model] = counts.get(model, 0) + 1
    return [{"id": model, "providers": counts[model]} for model in sorted(counts)]
