"""Declarations of what operators do to accounts and keys, and of their audit."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from server.api.declared.forms import FEW, Amount, JsonObject, Moment
from server.api.declared.keys import KeyWish
from server.openapi.operation import Operation, Parameter


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
    suspended_at: Moment | None
    suspended_reason: str
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


class Suspension(msgspec.Struct, kw_only=True):
    """Why an account is suspended; for operators, its owner does not see it."""

    reason: Annotated[str, Meta(min_length=1, max_length=500)]


class Migration(msgspec.Struct, kw_only=True):
    """The account that gets the money, by id, login, verified address or identity."""

    to: str


class Migrated(msgspec.Struct, kw_only=True, rename={"source": "from"}):
    """What was moved; `key_id` is a key without owner that went with its money."""

    source: str
    to: str
    amount_micro_usd: int
    withdrawable_micro_usd: int
    key_id: str | None


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
            FEW,
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
        method="POST",
        path="/v1/admin/users/{who}/suspend",
        family="Administration",
        summary="Suspend an account",
        auth="admin",
        meaning=(
            "Its keys, sessions and tokens are refused with 403 `account_suspended`, its machines are unlinked, and "
            "nothing is paid out. What runs ends well and is charged; keys, tokens and money stay."
        ),
        body=Suspension,
        answer=AdminAccount,
        errors=(409,),
    ),
    Operation(
        method="POST",
        path="/v1/admin/users/{who}/resume",
        family="Administration",
        summary="Take a suspension back",
        auth="admin",
        answer=AdminAccount,
        errors=(409,),
    ),
    Operation(
        method="POST",
        path="/v1/admin/users/{who}/migrate",
        family="Administration",
        summary="Move all money of an account to another",
        auth="admin",
        meaning=(
            "Earned money moves as earned. The account may be the `legacy:` one of a key without owner, which then "
            "belongs to the other account. 409 while requests of the account are running."
        ),
        body=Migration,
        answer=Migrated,
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
            FEW,
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
        parameters=(FEW,),
        answer=Acts,
    ),
)
