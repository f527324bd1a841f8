"""The door of the inference endpoints: who sent a request, how often he may, and which models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from protocol.api.errors import ApiError
from server.observe import request_notes
from server.store.errors import StoreUnavailable

if TYPE_CHECKING:
    from server.accounts import Identity
    from server.api.call import HeaderReader
    from server.limits import RequestLimiter

STORE_RETRY_SECONDS: Final = 5.0


class CallerFinder(Protocol):
    """Finds the caller of a request; implemented by server.accounts.callers.Callers."""

    async def identify_call(
        self, headers: HeaderReader, *, method: str, scheme: str, ip: str, origins: frozenset[str] = frozenset()
    ) -> Identity:
        """Raises ApiError 401, 403 or 429, and StoreUnavailable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """`origins` are the public origins of the settings, whose pages may call with a cookie."""

    callers: CallerFinder
    limiter: RequestLimiter
    origins: frozenset[str] = frozenset()

    async def identify(self, headers: HeaderReader, *, method: str, scheme: str, ip: str) -> Identity:
        """Find the caller, and note the account for the request log; raises ApiError 401, 403, 429 or 503."""
        try:
            found = await self.callers.identify_call(headers, method=method, scheme=scheme, ip=ip, origins=self.origins)
        except StoreUnavailable:
            raise accounts_unavailable() from None
        request_notes().account_id = found.account_id
        return found


def accounts_unavailable() -> ApiError:
    """503: the database does not answer."""
    text = "Accounts cannot be checked at the moment; try again shortly."
    return ApiError(503, "service_unavailable", text, retry_after_seconds=STORE_RETRY_SECONDS)


def check_model_allowed(identity: Identity, model: str) -> None:
    """Raise ApiError 403 unless the key may ask for a model under the name as sent."""
    if not identity.may_use(model):
        text = f"This API key may not use the model {model[:100]!r}; ask for another model or change the key."
        raise ApiError(403, "model_not_allowed", text, param="model")
