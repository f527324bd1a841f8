"""`/v1/admin/{credit,reward}` and `/v1/admin/users/{role,platform-fee}`: what administrators give people.

Invariant: each of these acts leaves one row of the audit, in its own transaction; a repeated grant leaves none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from quart import Blueprint

from protocol.api.errors import invalid_request
from server.accounts.guards import require_admin
from server.administration.accounts import AccountActs
from server.administration.operator import AuditedStore, Operator
from server.api.admin_accounts import actor_of
from server.api.deposits import optional_text
from server.api.gate import answer_store_outage, private_answer, read_object
from server.api.keys import usd_number
from server.api.row_errors import answer_row_errors
from server.billing.amounts import AmountError, parse_usd
from server.rewards.grants import MAX_KEY, MAX_NOTE, Granted, Grants, Person, find

if TYPE_CHECKING:
    from quart.wrappers import Response

    from server.accounts.changes import Changes
    from server.accounts.ports import Identity, Role
    from server.accounts.users import User
    from server.administration.audit import Facts
    from server.api.deposits import PaymentGate
    from server.rewards.grants import GrantKind
    from server.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantServices:
    """What the endpoints work with; `wall_clock` gives microseconds."""

    gate: PaymentGate
    store: Store
    changes: Changes
    wall_clock: Callable[[], int]


def grants_blueprint(services: GrantServices) -> Blueprint:
    """Serve grants to administrators: the admin key, or a signed-in one; never an ordinary API key."""
    blueprint = Blueprint("grants", __name__)
    gate = services.gate
    operator = Operator(services.store, changes=services.changes, wall_clock=services.wall_clock)
    acts = AccountActs(operator)
    answer_store_outage(blueprint)
    answer_row_errors(blueprint)

    async def give(kind: GrantKind) -> dict[str, object]:
        admin = require_admin(await gate.caller())
        body = await read_object("invalid_request")
        note = optional_text(body, "note", limit=MAX_NOTE)
        given = await _grants(services, admin, kind, note).grant(
            _person(body),
            kind=kind,
            amount=_amount(body),
            note=note,
            idempotency_key=optional_text(body, "idempotency_key", limit=MAX_KEY),
        )
        is_reward = kind == "admin_reward"
        answer: dict[str, object] = {
            "ok": True,
            **_shown(given.user),
            "rewarded_usd" if is_reward else "credited_usd": usd_number(given.amount),
            "withdrawable": is_reward,
            "balance_after": usd_number(given.balance),
        }
        if is_reward:
            answer["withdrawable_after"] = usd_number(given.withdrawable)
        return answer

    @blueprint.post("/v1/admin/credit")
    async def credit() -> Response:
        return private_answer(await give("admin_credit"))

    @blueprint.post("/v1/admin/reward")
    async def reward() -> Response:
        return private_answer(await give("admin_reward"))

    @blueprint.put("/v1/admin/users/role")
    async def role() -> Response:
        admin = require_admin(await gate.caller())
        body = await read_object("invalid_request")
        wanted, person = _role(body), _person(body)
        user = await operator.read(lambda tx: find(tx, person))
        await acts.set_role(actor_of(admin), user.account_id, wanted)
        return private_answer({"ok": True, **_shown(user), "role": wanted})

    @blueprint.put("/v1/admin/users/platform-fee")
    async def platform_fee() -> Response:
        admin = require_admin(await gate.caller())
        body = await read_object("invalid_request")
        percent, person = _percent(body), _person(body)
        user = await operator.read(lambda tx: find(tx, person))
        await acts.set_fee(actor_of(admin), user.account_id, percent)
        return private_answer({"ok": True, **_shown(user), "fee_percent": percent})

    return blueprint


def _grants(services: GrantServices, admin: Identity, kind: GrantKind, note: str) -> Grants:
    def describe(result: object) -> tuple[str, Facts] | None:
        assert isinstance(result, Granted)
        if not result.fresh:
            return None
        return result.user.account_id, {"amount_micro_usd": result.amount, "reason": note}

    action, clock = kind.removeprefix("admin_"), services.wall_clock
    store = AuditedStore(services.store, actor=actor_of(admin), action=action, describe=describe, wall_clock=clock)
    return Grants(store, wall_clock=clock)


def _person(body: Mapping[str, object]) -> Person:
    email = optional_text(body, "email", limit=320)
    account_id = optional_text(body, "account_id", limit=128)
    if bool(email) == bool(account_id):
        raise invalid_request("Name the user by email or by account_id, one of them.", param="email")
    return Person(email=email, account_id=account_id)


def _amount(body: Mapping[str, object]) -> int:
    try:
        amount = parse_usd(body.get("amount_usd"))
    except AmountError as error:
        raise invalid_request(str(error), param="amount_usd") from None
    if amount <= 0:
        raise invalid_request("The amount must be positive; give at least 0.000001.", param="amount_usd")
    return amount


def _role(body: Mapping[str, object]) -> Role:
    match body.get("role"):
        case "service":
            return "service"
        case "":
            return ""
    raise invalid_request('role must be "service", or "" for an ordinary user.', param="role")


def _percent(body: Mapping[str, object]) -> int | None:
    if "fee_percent" not in body:
        raise invalid_request("fee_percent is needed: 0 to 100, or null.", param="fee_percent")
    percent = body["fee_percent"]
    if isinstance(percent, Decimal) and percent == percent.to_integral_value():
        percent = int(percent)
    if percent is None:
        return None
    if isinstance(percent, bool) or not isinstance(percent, int) or not 0 <= percent <= 100:
        raise invalid_request("fee_percent must be a whole number from 0 to 100, or null.", param="fee_percent")
    return percent


def _shown(user: User) -> dict[str, object]:
    return {"account_id": user.account_id, "email": user.email}
