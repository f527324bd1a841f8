"""What the API asks of a key directory; the account store implements the same interface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

RefusalCode: TypeAlias = Literal["invalid_api_key", "key_disabled", "key_expired", "key_revoked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A checked caller. `allowed_models` None means all; `self_route_only` restricts a key to the owner's machines."""

    account_id: str
    key_id: str
    allowed_models: frozenset[str] | None = None
    self_route_only: bool = False

    def may_use(self, model: str) -> bool:
        """Whether the key may ask for a model under the name as sent."""
        return self.allowed_models is None or model in self.allowed_models


@dataclass(frozen=True, slots=True)
class AuthRefusal:
    """Why a token is no good; a closed code that the error answer carries."""

    code: RefusalCode


class KeyDirectory(Protocol):
    """Finds the caller behind a bearer token."""

    async def authenticate(self, token: str) -> Identity | AuthRefusal:
        """Look a token up; never raises for bad input, compares in constant time."""
