"""`/v1/referral/…`: a person's referral code, by whose code an account came, and what it brought."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from quart import Blueprint

from protocol.api.errors import ApiError
from server.accounts.guards import require_user
from server.api.gate import answer_store_outage, private_answer, read_object
from server.billing.amounts import usd6
from server.store import Conflict, Invalid

if TYPE_CHECKING:
    from quart.wrappers import Response

    from server.api.deposits import PaymentGate
    from server.rewards.referrals import Referrals


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferralServices:
    """`referrals` is None where nobody is rewarded for others."""

    gate: PaymentGate
    referrals: Referrals | None


def referrals_blueprint(services: ReferralServices) -> Blueprint:
    """Serve referrals: a user account registers and applies, any key of it reads."""
    blueprint = Blueprint("referrals", __name__)
    gate = services.gate
    answer_store_outage(blueprint)

    @blueprint.post("/v1/referral/register")
    async def register() -> Response:
        caller = require_user(await gate.caller())
        admission = gate.limiter.financial(caller)
        referrals = _configured(services)
        try:
            code = await referrals.register(caller.account_id, await _code())
        except (Invalid, Conflict) as error:
            raise _refused(str(error)) from None
        share = referrals.share_percent
        return private_answer(
            {
                "code": code,
                "share_percent": share,
                "message": f"Share {code}: you get {share} % of the platform fee of those who come by it.",
            },
            admission=admission,
        )

    @blueprint.post("/v1/referral/apply")
    async def apply() -> Response:
        caller = require_user(await gate.caller())
        admission = gate.limiter.financial(caller)
        referrals = _configured(services)
        code = (await _code()).strip().upper()
        match await referrals.bind(caller.account_id, code):
            case "applied":
                message = f"Your account came by the code {code}."
                return private_answer({"status": "applied", "code": code, "message": message}, admission=admission)
            case "unknown":
                raise _refused("This referral code is not known; check it.")
            case "own":
                raise _refused("This is your own referral code; nobody refers himself.")
            case "other":
                raise _refused("Your account came by another referral code already; that cannot be changed.")

    @blueprint.get("/v1/referral/stats")
    async def stats() -> Response:
        caller = await gate.caller()
        referrals = _configured(services)
        found = await referrals.stats(caller.account_id)
        if found is None:
            raise ApiError(404, "referral_error", "This account has no referral code; POST /v1/referral/register.")
        return private_answer(
            {
                "code": found.code,
                "share_percent": referrals.share_percent,
                "total_referred": found.referred,
                "total_rewards_micro_usd": found.rewards,
                "total_rewards_usd": usd6(found.rewards),
                "balance_micro_usd": found.balance,
                "balance_usd": usd6(found.balance),
            }
        )

    @blueprint.get("/v1/referral/info")
    async def info() -> Response:
        caller = await gate.caller()
        referrals = _configured(services)
        found = await referrals.info(caller.account_id)
        if found is None:
            raise ApiError(404, "referral_error", "This account has no referral code, and came by none.")
        return private_answer(
            {"code": found.code, "share_percent": referrals.share_percent, "referred_by": found.referred_by}
        )

    return blueprint


def _configured(services: ReferralServices) -> Referrals:
    if services.referrals is None:
        raise ApiError(503, "billing_error", "There are no referrals here.", retryable=False)
    return services.referrals


async def _code() -> str:
    code = (await read_object("bad_request")).get("code")
    if not isinstance(code, str) or not code.strip():
        raise _refused("code is needed, as a text.")
    return code


def _refused(message: str) -> ApiError:
    return ApiError(400, "referral_error", message, param="code")
