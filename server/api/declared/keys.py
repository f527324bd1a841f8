"""Declarations of API keys and of the tokens of linked machines."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from server.api.declared.forms import Moment
from server.openapi.operation import Operation

Reset = Literal["none", "daily", "weekly", "monthly"]
PerMinute = Annotated[int, Meta(ge=0, le=2**31)]


class KeyWish(msgspec.Struct, kw_only=True):
    """What a key may do; what is not sent is not limited."""

    name: str | UnsetType = UNSET
    limit_usd: Annotated[float, Meta(ge=0, le=1000000)] | UnsetType | None = UNSET
    limit_reset: Reset | UnsetType = UNSET
    rpm_limit: PerMinute | UnsetType | None = UNSET
    itpm_limit: PerMinute | UnsetType | None = UNSET
    otpm_limit: PerMinute | UnsetType | None = UNSET
    allowed_models: list[str] | UnsetType | None = UNSET
    self_route_only: bool | UnsetType = UNSET
    expires_at: Moment | UnsetType | None = UNSET


class KeyChange(KeyWish, kw_only=True):
    """What to change; null takes a limit away, what is not sent stays."""

    disabled: bool | UnsetType = UNSET


class Key(msgspec.Struct, kw_only=True):
    """A key without its secret, which nobody knows any more; what is not set is left out."""

    id: str
    name: str
    label: str
    disabled: bool
    limit_reset: Reset
    usage_usd: float
    self_route_only: bool
    created_at: Moment
    limit_usd: float | UnsetType = UNSET
    remaining_usd: float | UnsetType = UNSET
    rpm_limit: int | UnsetType = UNSET
    itpm_limit: int | UnsetType = UNSET
    otpm_limit: int | UnsetType = UNSET
    allowed_models: list[str] | UnsetType = UNSET
    expires_at: Moment | UnsetType = UNSET
    last_used_at: Moment | UnsetType = UNSET


class KeyList(msgspec.Struct, kw_only=True):
    """The live keys of an account."""

    object: Literal["list"]
    data: list[Key]


class MadeKey(msgspec.Struct, kw_only=True):
    """A new key with its secret, which is shown this one time."""

    key: str
    data: Key


class PlainKey(msgspec.Struct, kw_only=True):
    """A new key, in the older form."""

    api_key: str
    account_id: str


class ShownKey(msgspec.Struct, kw_only=True):
    """A key by its secret."""

    key: str


class Revoked(msgspec.Struct, kw_only=True):
    """It is revoked."""

    status: Literal["revoked"]


class MachineToken(msgspec.Struct, kw_only=True):
    """The login of one machine."""

    id: str
    label: str
    active: bool
    created_at: Moment
    last_used_at: Moment | UnsetType = UNSET
    revoked_at: Moment | UnsetType = UNSET


class MachineTokens(msgspec.Struct, kw_only=True):
    """The logins of all machines of an account."""

    object: Literal["list"]
    data: list[MachineToken]


KEYS: Final[tuple[Operation, ...]] = (
    Operation(
        method="POST",
        path="/v1/keys",
        family="Keys",
        summary="Make a key",
        auth="session",
        body=KeyWish,
        body_required=False,
        answer=MadeKey,
        errors=(409,),
    ),
    Operation(method="GET", path="/v1/keys", family="Keys", summary="List keys", auth="session", answer=KeyList),
    Operation(
        method="GET",
        path="/v1/keys/{key_id}",
        family="Keys",
        summary="Show a key",
        auth="session",
        answer=Key,
    ),
    Operation(
        method="PATCH",
        path="/v1/keys/{key_id}",
        family="Keys",
        summary="Change a key",
        auth="session",
        body=KeyChange,
        answer=Key,
    ),
    Operation(
        method="POST",
        path="/v1/keys/{key_id}/rotate",
        family="Keys",
        summary="Replace a key's secret; the old one ends at once",
        auth="session",
        answer=MadeKey,
        errors=(409,),
    ),
    Operation(
        method="DELETE",
        path="/v1/keys/{key_id}",
        family="Keys",
        summary="Revoke a key",
        auth="session",
        answer=Revoked,
    ),
    Operation(
        method="POST",
        path="/v1/auth/keys",
        family="Keys",
        summary="Make a key without limits (older form)",
        auth="session",
        answer=PlainKey,
        errors=(409,),
    ),
    Operation(
        method="DELETE",
        path="/v1/auth/keys",
        family="Keys",
        summary="Revoke a key by its secret (older form)",
        auth="session",
        body=ShownKey,
        answer=Revoked,
    ),
    Operation(
        method="GET",
        path="/v1/key",
        family="Keys",
        summary="Show the calling key",
        auth="key",
        answer=Key,
    ),
    Operation(
        method="GET",
        path="/v1/me/provider-tokens",
        family="Keys",
        summary="List the logins of machines",
        auth="session",
        answer=MachineTokens,
    ),
    Operation(
        method="DELETE",
        path="/v1/me/provider-tokens/{token_id}",
        family="Keys",
        summary="Log a machine out",
        auth="session",
        answer=Revoked,
    ),
)
