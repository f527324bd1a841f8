"""`/v1/invite/redeem` for everybody with an account; `/v1/admin/invite-codes` for administrators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from quart import Blueprint

from protocol.api.errors import ApiError, invalid_request
from protocol.rfc3339 import parse_rfc3339
from server.accounts.guards import require_admin
from server.accounts.ports import ADMIN_ACCOUNT
from server.administration.operator import AuditedStore
from server.api.admin_accounts import actor_of
from server.api.deposits import amount_in_cents
from server.api.gate import answer_store_outage, private_answer, read_object
from server.api.json_answer import MICROSECONDS, timestamp
from server.billing.amounts import MICRO_PER_CENT, usd2, usd6
from server.rewards.invites import MAX_USES, Invites, Redeemed, Refused, normal_code
from server.store import Conflict, Invalid

if TYPE_CHECKING:
    from quart.wrappers import Response

    from server.accounts.ports import Identity
    from server.administration.audit import Facts
    from server.api.deposits import PaymentGate
    from server.rewards.invites import Invite
    from server.store import Store

_REFUSALS: Final[Mapping[Refused, str]] = {
    "inactive": "This invite code is not active any more.",
    "expired": "This invite code has expired.",
    "used_up": "This invite code was used as often as it can be.",
    "redeemed": "Your account has redeemed this invite code already.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class InviteServices:
    """What the endpoints work with; `wall_clock` gives microseconds."""

    gate: PaymentGate
    store: Store
    wall_clock: Callable[[], int]


def invites_blueprint(services: InviteServices) -> Blueprint:
    """Serve invites; the financial limit keeps anybody from trying codes."""
    blueprint = Blueprint("invites", __name__)
    gate, invites = services.gate, Invites(services.store, wall_clock=services.wall_clock)
    answer_store_outage(blueprint)

    @blueprint.post("/v1/invite/redeem")
    async def redeem() -> Response:
        caller = await gate.caller()
        admission = gate.limiter.financial(caller)
        if caller.account_id == ADMIN_ACCOUNT:
            raise ApiError(403, "forbidden", "The admin key has no balance; redeem with an account's own key.")
        found = await invites.redeem(caller.account_id, _code(await read_object("invalid_request")))
        if isinstance(found, Redeemed):
            answer = {"credited_usd": usd2(found.amount), "balance_usd": usd6(found.balance)}
            return private_answer(answer, admission=admission)
        raise _refused(found)

    @blueprint.post("/v1/admin/invite-codes")
    async def create() -> Response:
        admin = require_admin(await gate.caller())
        admission = gate.limiter.financial(admin)
        body = await read_object("invalid_request")
        try:
            invite = await _audited(services, admin, "invite.create", _made).create(
                amount=amount_in_cents(body) * MICRO_PER_CENT,
                code=None if body.get("code") in (None, "") else _code(body),
                max_uses=_max_uses(body),
                expires_at=_expiry(body),
            )
        except Invalid as error:
            raise invalid_request(str(error)) from None
        except Conflict as error:
            raise ApiError(409, "conflict", str(error), param="code", retryable=False) from None
        shown = _shown(invite)
        made = {name: shown[name] for name in ("code", "amount_usd", "max_uses", "expires_at")}
        return private_answer(made, status=201, admission=admission)

    @blueprint.get("/v1/admin/invite-codes")
    async def list_codes() -> Response:
        require_admin(await gate.caller())
        return private_answer({"invite_codes": [_shown(invite) for invite in await invites.list()]})

    @blueprint.delete("/v1/admin/invite-codes")
    async def deactivate() -> Response:
        admin = require_admin(await gate.caller())
        code = _code(await read_object("invalid_request"))

        def switched_off(changed: object) -> tuple[str, Facts] | None:
            return (normal_code(code) or "", {"active": False}) if changed else None

        if not await _audited(services, admin, "invite.deactivate", switched_off).deactivate(code):
            raise ApiError(404, "not_found", "There is no such invite code.", param="code")
        return private_answer({"status": "deactivated"})

    return blueprint


def _audited(
    services: InviteServices, admin: Identity, action: str, describe: Callable[[object], tuple[str, Facts] | None]
) -> Invites:
    """Give the invites whose next act leaves its row of the audit, in its own transaction."""
    clock = services.wall_clock
    store = AuditedStore(services.store, actor=actor_of(admin), action=action, describe=describe, wall_clock=clock)
    return Invites(store, wall_clock=clock)


def _made(row: object) -> tuple[str, Facts] | None:
    if row is None:
        return None
    made = cast(Mapping[str, object], row)
    return str(made["code"]), {name: made[name] for name in ("amount_micro_usd", "max_uses", "expires_at")}


def _code(body: Mapping[str, object]) -> str:
    code = body.get("code")
    if not isinstance(code, str) or not code.strip():
        raise invalid_request("code is needed, as a text.", param="code")
    return code


def _max_uses(body: Mapping[str, object]) -> int:
    uses = body.get("max_uses")
    if uses is None or uses == 0:
        return 1
    if isinstance(uses, bool) or not isinstance(uses, int) or not 1 <= uses <= MAX_USES:
        raise invalid_request(f"max_uses must be a whole number from 1 to {MAX_USES}.", param="max_uses")
    return uses


def _expiry(body: Mapping[str, object]) -> int | None:
    text = body.get("expires_at")
    if text is None or text == "":
        return None
    try:
        return round(parse_rfc3339(text if isinstance(text, str) else "") * MICROSECONDS)
    except (ValueError, OverflowError):
        text = "expires_at must be a moment such as 2030-01-01T00:00:00Z."
        raise invalid_request(text, param="expires_at") from None


def _refused(why: Refused) -> ApiError:
    if why == "unknown":
        return ApiError(404, "not_found", "There is no such invite code; check it.", param="code")
    return invalid_request(_REFUSALS[why], param="code")


def _shown(invite: Invite) -> dict[str, object]:
    return {
        "code": invite.code,
        "amount_usd": usd2(invite.amount),
        "max_uses": invite.max_uses,
        "used_count": invite.used_count,
        "active": invite.active,
        "expires_at": timestamp(invite.expires_at),
        "created_at": timestamp(invite.created_at),
    }
