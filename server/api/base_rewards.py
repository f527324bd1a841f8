"""`/v1/admin/base-rewards`: what an epoch's budget was spent on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec
from quart import Blueprint, request

from protocol.api.errors import invalid_request
from server.accounts.guards import require_admin
from server.api.gate import answer_store_outage, private_answer
from server.api.json_answer import timestamp
from server.rewards.draws import epoch_use, list_draws
from server.rewards.epochs import Epoch

if TYPE_CHECKING:
    from quart.wrappers import Response

    from server.api.deposits import PaymentGate
    from server.rewards.draws import DrawRow
    from server.rewards.policy import BaseRewardPolicy
    from server.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseRewardServices:
    """`policy` is None where there are no base rewards; `wall_clock` gives microseconds."""

    gate: PaymentGate
    store: Store
    policy: BaseRewardPolicy | None
    wall_clock: Callable[[], int]


def base_rewards_blueprint(services: BaseRewardServices) -> Blueprint:
    """Serve the draws of one epoch to administrators; by default of the one that closed last."""
    blueprint = Blueprint("base_rewards", __name__)
    answer_store_outage(blueprint)

    @blueprint.get("/v1/admin/base-rewards")
    async def base_rewards() -> Response:
        require_admin(await services.gate.caller())
        policy = services.policy
        if policy is None:
            return private_answer({"enabled": False})
        epoch = _epoch(services.wall_clock())
        use = await services.store.statistics(lambda tx: epoch_use(tx, epoch.id))
        draws = await services.store.statistics(lambda tx: list_draws(tx, epoch.id))
        return private_answer(
            {
                "enabled": True,
                "epoch_id": epoch.id,
                "pool_budget": policy.budget(epoch),
                "pool_used": use.amount,
                "reduction_k": msgspec.Raw(f"{Decimal(policy.reduction_thousandths) / 1000:f}".encode()),
                "draw_count": use.draws,
                "draws": [_shown(draw) for draw in draws],
            }
        )

    return blueprint


def _epoch(now: int) -> Epoch:
    text = request.args.get("epoch", "")
    if not text:
        return Epoch.containing(now).shift(-1)
    try:
        return Epoch.parse(text)
    except (ValueError, OverflowError):
        raise invalid_request(
            "epoch must be the start of five minutes, such as 2026-07-15T10:05Z.", param="epoch"
        ) from None


def _shown(draw: DrawRow) -> dict[str, object]:
    return {
        "provider_key": draw.provider_key,
        "account_id": draw.account_id,
        "amount_micro_usd": draw.amount,
        "floor_micro_usd": draw.floor,
        "earned_micro_usd": draw.organic,
        "uptime": draw.uptime,
        "memory_gb": draw.memory_gb,
        "created_at": timestamp(draw.created_at),
    }
