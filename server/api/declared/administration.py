"""Declarations of what operators do."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from server.api.declared.forms import Amount, JsonObject, Moment
from server.api.declared.keys import KeyWish
from server.api.declared.money import DeletedPrice, ModelName, PriceWish, SetPrice
from server.openapi.operation import Also, Operation, Parameter

Few = Annotated[int, Meta(ge=1, le=200)]


class AdminAccount(msgspec.Struct, kw_only=True):
    """One account; amounts are without what running requests hold."""

    account_id: str
    external_id: str
    login: str | None
    email: str
    email_verified: bool
    role: str
    is_admin: bool
    fee_percent: int | None
    stripe_account_status: str
    live_keys: int
    machine_tokens: int
    balance_micro_usd: int
    balance_usd: Amount
    withdrawable_micro_usd: int
    withdrawable_usd: Amount
    held_micro_usd: int
    created_at: Moment


class AdminAccounts(msgspec.Struct, kw_only=True):
    """Accounts that were found."""

    users: list[AdminAccount]


class AdminKey(msgspec.Struct, kw_only=True):
    """A key of any account."""

    id: str
    account_id: str
    name: str
    label: str
    state: str
    limit_micro_usd: int | None
    limit_reset: str
    expires_at: Moment | None
    created_at: Moment | None
    last_used_at: Moment | None
    revoked_at: Moment | None


class AdminKeys(msgspec.Struct, kw_only=True):
    """Keys that were found."""

    object: Literal["list"]
    data: list[AdminKey]


class AdminKeyWish(KeyWish, kw_only=True):
    """A key for an account."""

    account_id: str


class AdminMadeKey(msgspec.Struct, kw_only=True):
    """A new key with its secret, which is shown this one time."""

    key: str
    id: str
    account_id: str


class KeySwitch(msgspec.Struct, kw_only=True):
    """Whether a key is switched off."""

    disabled: bool


class AdminRevoked(msgspec.Struct, kw_only=True):
    """The key is revoked."""

    status: Literal["revoked"]
    id: str
    account_id: str


class Act(msgspec.Struct, kw_only=True):
    """One row of the audit."""

    id: int
    at: Moment
    actor: str
    action: str
    target: str
    before: JsonObject
    after: JsonObject
    outcome: str


class Acts(msgspec.Struct, kw_only=True):
    """The newest acts."""

    acts: list[Act]


class Email(msgspec.Struct, kw_only=True):
    """An administrator's address."""

    email: str


class EmailCode(msgspec.Struct, kw_only=True):
    """The code that was sent to it."""

    email: str
    code: str


class CodeSent(msgspec.Struct, kw_only=True):
    """A code is on its way, if the address is an administrator's."""

    status: Literal["otp_sent"]
    email: str


class AdminToken(msgspec.Struct, kw_only=True):
    """An identity token."""

    token: str
    email: str


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


class RoleWish(msgspec.Struct, kw_only=True):
    """A role for somebody: `service` for wholesale partners, empty for everybody else."""

    role: Literal["service", ""]
    email: str | UnsetType = UNSET
    account_id: str | UnsetType = UNSET


class FeeWish(msgspec.Struct, kw_only=True):
    """The share of the platform, in percent; null: as in the settings."""

    fee_percent: Annotated[int, Meta(ge=0, le=100)] | None
    email: str | UnsetType = UNSET
    account_id: str | UnsetType = UNSET


class UserChanged(msgspec.Struct, kw_only=True):
    """What somebody has now."""

    ok: bool
    account_id: str
    email: str
    role: str | UnsetType = UNSET
    fee_percent: int | UnsetType | None = UNSET


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


class DrainWish(msgspec.Struct, kw_only=True):
    """Whether new inference is refused."""

    draining: bool | UnsetType = UNSET


class DrainState(msgspec.Struct, kw_only=True):
    """Whether new inference is refused, and what still runs."""

    draining: bool
    inflight: int


ADMINISTRATION: Final[tuple[Operation, ...]] = (
    Operation(
        method="POST",
        path="/v1/admin/auth/init",
        family="Administration",
        summary="Ask for a one-time code",
        auth="none",
        body=Email,
        answer=CodeSent,
        errors=(429, 503),
    ),
    Operation(
        method="POST",
        path="/v1/admin/auth/verify",
        family="Administration",
        summary="Sign in with a one-time code",
        auth="none",
        body=EmailCode,
        answer=AdminToken,
        errors=(401, 429, 503),
    ),
    Operation(
        method="GET",
        path="/v1/admin/users",
        family="Administration",
        summary="Find accounts",
        auth="admin",
        parameters=(
            Parameter(name="q", meaning="Part of a name, an address or an id."),
            Parameter(name="limit", meaning="How many at most.", kind=Few),
        ),
        answer=AdminAccounts,
    ),
    Operation(
        method="GET",
        path="/v1/admin/users/{who}",
        family="Administration",
        summary="Show an account",
        auth="admin",
        answer=AdminAccount,
        errors=(409,),
    ),
    Operation(
        method="PUT",
        path="/v1/admin/users/role",
        family="Administration",
        summary="Give an account a role",
        auth="admin",
        body=RoleWish,
        answer=UserChanged,
        errors=(409,),
    ),
    Operation(
        method="PUT",
        path="/v1/admin/users/platform-fee",
        family="Administration",
        summary="Set the platform's share for an owner",
        auth="admin",
        body=FeeWish,
        answer=UserChanged,
        errors=(409,),
    ),
    Operation(
        method="GET",
        path="/v1/admin/keys",
        family="Administration",
        summary="List keys",
        auth="admin",
        parameters=(
            Parameter(name="account", meaning="Only those of one account."),
            Parameter(name="revoked", meaning="`1` lists revoked ones too."),
            Parameter(name="limit", meaning="How many at most.", kind=Few),
        ),
        answer=AdminKeys,
        errors=(409,),
    ),
    Operation(
        method="POST",
        path="/v1/admin/keys",
        family="Administration",
        summary="Make a key for an account",
        auth="admin",
        body=AdminKeyWish,
        answer=AdminMadeKey,
        errors=(409,),
    ),
    Operation(
        method="PATCH",
        path="/v1/admin/keys/{key_id}",
        family="Administration",
        summary="Switch a key off or on",
        auth="admin",
        body=KeySwitch,
        answer=AdminKey,
        errors=(409,),
    ),
    Operation(
        method="DELETE",
        path="/v1/admin/keys/{key_id}",
        family="Administration",
        summary="Revoke a key",
        auth="admin",
        answer=AdminRevoked,
        errors=(409,),
    ),
    Operation(
        method="GET",
        path="/v1/admin/audit",
        family="Administration",
        summary="List the newest acts",
        auth="admin",
        parameters=(Parameter(name="limit", meaning="How many at most.", kind=Few),),
        answer=Acts,
    ),
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
        parameters=(Parameter(name="limit", meaning="How many at most.", kind=Few),),
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
    Operation(
        method="POST",
        path="/v1/admin/drain",
        family="Administration",
        summary="Refuse new inference, or take it again",
        auth="admin",
        body=DrainWish,
        body_required=False,
        answer=DrainState,
    ),
    Operation(
        method="GET",
        path="/v1/admin/state-export",
        family="Administration",
        summary="Download the persistent-data directory",
        auth="admin_key",
        meaning="Only where it is enabled; elsewhere there is no such path.",
        answer=bytes,
        answer_media="application/octet-stream",
        also=(Also(status=412, meaning="Nobody has said for whom to encrypt."),),
        errors=(409,),
    ),
)
