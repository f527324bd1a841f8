"""What the API asks of a key directory, and what it learns of a caller."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, TypeAlias

RefusalCode: TypeAlias = Literal[
    "invalid_api_key", "key_disabled", "key_expired", "key_revoked", "invalid_token", "account_suspended"
]
CredentialKind: TypeAlias = Literal["key", "jwt", "cookie", "admin_key"]
SessionMode: TypeAlias = Literal["local", "key", "privy", "header"]
LimitReset: TypeAlias = Literal["none", "daily", "weekly", "monthly"]
Role: TypeAlias = Literal["", "service"]

ADMIN_ACCOUNT: Final = "admin"
"""The synthetic account of a request made with an admin key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A checked caller. `allowed_models` None means all; `self_route_only` restricts a key to the owner's machines.

    `credential` is what the caller has the rights of: a browser session that was opened with an API key is a `key`.
    `key_id` is empty unless it is a `key`. `covered` requests cost their account nothing. `unlimited` callers pass all
    rate limits. The limits are those of the key: a minute's amounts (None and 0 inherit) and micro-USD per window.
    """

    account_id: str
    key_id: str
    credential: CredentialKind = "key"
    has_user: bool = False
    is_admin: bool = False
    role: Role = ""
    covered: bool = False
    unlimited: bool = False
    allowed_models: frozenset[str] | None = None
    self_route_only: bool = False
    limit_micro_usd: int | None = None
    limit_reset: LimitReset = "none"
    rpm_limit: int | None = None
    itpm_limit: int | None = None
    otpm_limit: int | None = None
    session_hash: str = field(default="", repr=False)
    """Hash of the cookie of a browser session; empty without one."""

    @property
    def is_service(self) -> bool:
        """Whether the account is a wholesale partner."""
        return self.role == "service"

    @property
    def is_session(self) -> bool:
        """Whether a person is signed in, as opposed to a program with a key."""
        return self.credential in ("jwt", "cookie")

    def may_use(self, model: str) -> bool:
        """Whether the key may ask for a model under the name as sent."""
        return self.allowed_models is None or model in self.allowed_models


@dataclass(frozen=True, slots=True)
class AuthRefusal:
    """Why a token is no good; a closed code that the error answer carries."""

    code: RefusalCode


class MachineTokens(Protocol):
    """The tokens of linked machines."""

    async def account_of(self, token: str) -> str | None:
        """Give the account of a valid token, else None; raises StoreUnavailable."""


class KeyDirectory(Protocol):
    """Finds the caller behind a bearer token."""

    async def authenticate(self, token: str) -> Identity | AuthRefusal:
        """Look a token up; never raises for bad input, compares in constant time."""
