"""`/v1/admin/pricing`: administrators set the platform's prices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from quart import Blueprint

from server.accounts.guards import require_admin
from server.api.admin_accounts import actor_of
from server.api.gate import answer_store_outage, private_answer, read_object
from server.api.pricing import price_answer, read_model, read_price_fields
from server.api.row_errors import answer_row_errors
from server.billing.ledger import PLATFORM

if TYPE_CHECKING:
    from quart.wrappers import Response

    from server.administration.prices import PriceActs
    from server.api.gate import AccountGate
    from server.api.pricing import PriceList


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminPricingServices:
    """What the endpoints work with; `prices` is told of every change."""

    gate: AccountGate
    acts: PriceActs
    prices: PriceList


def admin_pricing_blueprint(services: AdminPricingServices) -> Blueprint:
    """Serve the platform's prices to administrators."""
    blueprint = Blueprint("admin_pricing", __name__)
    gate, acts, prices = services.gate, services.acts, services.prices
    answer_store_outage(blueprint)
    answer_row_errors(blueprint)

    @blueprint.put("/v1/admin/pricing")
    async def set_price() -> Response:
        admin = require_admin(await gate.caller())
        model, price = read_price_fields(await read_object("invalid_request"))
        try:
            await acts.set(actor_of(admin), model, price)
        finally:
            prices.changed(PLATFORM, model)
        return private_answer(price_answer("platform_default_updated", model, price))

    @blueprint.delete("/v1/admin/pricing")
    async def delete_price() -> Response:
        admin = require_admin(await gate.caller())
        model = read_model(await read_object("invalid_request"))
        try:
            await acts.delete(actor_of(admin), model)
        finally:
            prices.changed(PLATFORM, model)
        return private_answer({"status": "platform_default_deleted", "model": model})

    return blueprint
