"""`/v1/admin/payouts`: first withdrawals under review, withdrawals in doubt, and what administrators decide of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from quart import Blueprint

from protocol.api.errors import ApiError
from server.accounts.guards import require_admin
from server.administration import accounts, payouts
from server.api.admin_accounts import actor_of, clean_name, listing_limit
from server.api.gate import answer_store_outage, private_answer, read_object, text_member
from server.api.json_answer import timestamp
from server.api.row_errors import answer_row_errors

if TYPE_CHECKING:
    from quart.wrappers import Response

    from server.administration.operator import Operator
    from server.administration.payouts import PayoutActs
    from server.api.gate import AccountGate
    from server.payments.first_withdrawals import PayoutReview
    from server.payments.withdrawal_rows import Withdrawal


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminPayoutServices:
    """What the endpoints work with."""

    gate: AccountGate
    operator: Operator
    acts: PayoutActs


def admin_payouts_blueprint(services: AdminPayoutServices) -> Blueprint:
    """Serve them to administrators: the admin key, or a signed-in one; never an ordinary API key."""
    blueprint = Blueprint("admin_payouts", __name__)
    gate, acts = services.gate, services.acts
    answer_store_outage(blueprint)
    answer_row_errors(blueprint)

    @blueprint.get("/v1/admin/payouts")
    async def waiting() -> Response:
        require_admin(await gate.caller())
        limit = listing_limit()
        reviews, withdrawals = await services.operator.read(lambda tx: payouts.waiting(tx, limit))
        return private_answer(
            {
                "reviews": [review_answer(one) for one in reviews],
                "withdrawals": [doubt_answer(one) for one in withdrawals],
            }
        )

    @blueprint.post("/v1/admin/payouts/release")
    async def release() -> Response:
        admin = require_admin(await gate.caller())
        admission = gate.limiter.financial(admin)
        who = text_member(await read_object("bad_request"), "account_id", "bad_request", limit=accounts.MAX_QUERY)
        review = await acts.release(actor_of(admin), clean_name(who))
        return private_answer(review_answer(review), admission=admission)

    @blueprint.post("/v1/admin/payouts/<withdrawal_id>/decide")
    async def decide(withdrawal_id: str) -> Response:
        admin = require_admin(await gate.caller())
        admission = gate.limiter.financial(admin)
        body = await read_object("bad_request")
        found, actor, row_id = body.get("found"), actor_of(admin), clean_name(withdrawal_id)
        if found == "sent":
            transfer = text_member(body, "transfer_id", "bad_request", limit=255)
            row = await acts.sent(actor, row_id, transfer)
        elif found == "not_sent":
            row = await acts.not_sent(actor, row_id)
        elif found == "paid":
            row = await acts.paid(actor, row_id)
        else:
            text = 'found is needed: "sent" with the transfer_id, "not_sent", or "paid".'
            raise ApiError(400, "bad_request", text, param="found")
        return private_answer(doubt_answer(row), admission=admission)

    return blueprint


def review_answer(review: PayoutReview) -> dict[str, object]:
    """Describe a review."""
    return {
        "account_id": review.account_id,
        "state": "open" if review.is_open else "cleared",
        "payer_account_id": review.payer_account,
        "payer_micro_usd": review.payer_micro_usd,
        "earned_micro_usd": review.earned_micro_usd,
        "opened_at": timestamp(review.opened_at),
        "decided_at": timestamp(review.decided_at),
        "decided_by": review.decided_by,
    }


def doubt_answer(row: Withdrawal) -> dict[str, object]:
    """Describe a withdrawal to an operator."""
    return {
        "id": row.id,
        "account_id": row.account_id,
        "status": row.status,
        "needs_review": row.needs_review,
        "method": row.method,
        "amount_micro_usd": row.amount_micro_usd,
        "net_cents": row.net_cents,
        "stripe_account_id": row.stripe_account_id,
        "transfer_id": row.transfer_id,
        "payout_id": row.payout_id,
        "attempts": row.attempts,
        "created_at": timestamp(row.created_at),
        "updated_at": timestamp(row.updated_at),
    }
