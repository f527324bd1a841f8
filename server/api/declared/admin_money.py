"""Declarations of what operators do with money: prices, grants, invites, payouts, base rewards."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from server.api.declared.forms import FEW, Amount, JsonObject, Moment
from server.api.declared.money import DeletedPrice, ModelName, PriceWish, SetPrice
from server.openapi.operation import Operation, Parameter


class Grant(msgspec.Struct, kw_only=True):
    """Credits for somebody, named by address or by account."""

    amount_usd: str
    email: str | UnsetType = UNSET
    account_id: str | UnsetType = UNSET
    note: str | UnsetType = UNSET
    idempotency_key: str | UnsetType = UNSET


class Granted(msgspec.Struct, kw_only=True):
    """What was given, and what the account has after it."""

    ok: bool
    account_id: str
    email: str
    withdrawable: bool
    balance_after: float
    credited_usd: float | UnsetType = UNSET
    rewarded_usd: float | UnsetType = UNSET
    withdrawable_after: float | UnsetType = UNSET


class InviteWish(msgspec.Struct, kw_only=True):
    """An invite to make; without a code it gets a random one."""

    amount_usd: float | str
    code: str | UnsetType = UNSET
    max_uses: Annotated[int, Meta(ge=0, le=1_000_000)] | UnsetType = UNSET
    expires_at: Moment | UnsetType = UNSET


class Invite(msgspec.Struct, kw_only=True):
    """One invite."""

    code: str
    amount_usd: Amount
    max_uses: int
    expires_at: Moment | None
    used_count: int | UnsetType = UNSET
    active: bool | UnsetType = UNSET
    created_at: Moment | UnsetType = UNSET


class Invites(msgspec.Struct, kw_only=True):
    """The newest invites."""

    invite_codes: list[Invite]


class InviteCode(msgspec.Struct, kw_only=True):
    """An invite by its code."""

    code: str


class Deactivated(msgspec.Struct, kw_only=True):
    """It is switched off."""

    status: Literal["deactivated"]


class BaseRewards(msgspec.Struct, kw_only=True):
    """The base rewards of five minutes."""

    enabled: bool
    epoch_id: str | UnsetType = UNSET
    pool_budget: int | UnsetType = UNSET
    pool_used: int | UnsetType = UNSET
    reduction_k: float | UnsetType = UNSET
    draw_count: int | UnsetType = UNSET
    draws: list[JsonObject] | UnsetType = UNSET


class PayoutReview(msgspec.Struct, kw_only=True):
    """A first withdrawal that waits for an operator, or waited."""

    account_id: str
    state: Literal["open", "cleared"]
    payer_account_id: str
    payer_micro_usd: int
    earned_micro_usd: int
    opened_at: Moment | None
    decided_at: Moment | None
    decided_by: str | None


class DoubtfulPayout(msgspec.Struct, kw_only=True):
    """A withdrawal of which nobody knows whether it was sent."""

    id: str
    account_id: str
    status: str
    needs_review: bool
    method: str
    amount_micro_usd: int
    net_cents: int
    stripe_account_id: str
    transfer_id: str
    payout_id: str
    attempts: int
    created_at: Moment | None
    updated_at: Moment | None


class WaitingPayouts(msgspec.Struct, kw_only=True):
    """What waits for an operator."""

    reviews: list[PayoutReview]
    withdrawals: list[DoubtfulPayout]


class AccountName(msgspec.Struct, kw_only=True):
    """An account by id, address or name."""

    account_id: str


class PayoutDecision(msgspec.Struct, kw_only=True):
    """What an operator found out at Stripe."""

    found: Literal["sent", "not_sent", "paid"]
    transfer_id: str | UnsetType = UNSET


ADMIN_MONEY: Final[tuple[Operation, ...]] = (
    Operation(
        method="PUT",
        path="/v1/admin/pricing",
        family="Administration",
        summary="Set the platform's price of a model",
        auth="admin",
        body=PriceWish,
        answer=SetPrice,
    ),
    Operation(
        method="DELETE",
        path="/v1/admin/pricing",
        family="Administration",
        summary="Remove the platform's price of a model",
        auth="admin",
        body=ModelName,
        answer=DeletedPrice,
    ),
    Operation(
        method="POST",
        path="/v1/admin/credit",
        family="Administration",
        summary="Give somebody credits to spend",
        auth="admin",
        body=Grant,
        answer=Granted,
        errors=(409,),
    ),
    Operation(
        method="POST",
        path="/v1/admin/reward",
        family="Administration",
        summary="Give somebody credits that can be paid out",
        auth="admin",
        body=Grant,
        answer=Granted,
        errors=(409,),
    ),
    Operation(
        method="POST",
        path="/v1/admin/invite-codes",
        family="Administration",
        summary="Make an invite",
        auth="admin",
        body=InviteWish,
        answer=Invite,
        status=201,
        errors=(409,),
    ),
    Operation(
        method="GET",
        path="/v1/admin/invite-codes",
        family="Administration",
        summary="List invites",
        auth="admin",
        answer=Invites,
    ),
    Operation(
        method="DELETE",
        path="/v1/admin/invite-codes",
        family="Administration",
        summary="Switch an invite off",
        auth="admin",
        body=InviteCode,
        answer=Deactivated,
    ),
    Operation(
        method="GET",
        path="/v1/admin/payouts",
        family="Administration",
        summary="List withdrawals that wait for an operator",
        auth="admin",
        parameters=(FEW,),
        answer=WaitingPayouts,
    ),
    Operation(
        method="POST",
        path="/v1/admin/payouts/release",
        family="Administration",
        summary="Clear the first withdrawal of an account",
        auth="admin",
        body=AccountName,
        answer=PayoutReview,
        errors=(409,),
    ),
    Operation(
        method="POST",
        path="/v1/admin/payouts/{withdrawal_id}/decide",
        family="Administration",
        summary="Say what became of a withdrawal in doubt",
        auth="admin",
        body=PayoutDecision,
        answer=DoubtfulPayout,
        errors=(409,),
    ),
    Operation(
        method="GET",
        path="/v1/admin/base-rewards",
        family="Administration",
        summary="Show the base rewards of five minutes",
        auth="admin",
        parameters=(Parameter(name="epoch", meaning="Their start, such as `2026-07-15T10:05Z`."),),
        answer=BaseRewards,
    ),
)
