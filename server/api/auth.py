"""Who sent this request: the bearer token, or `x-api-key`, looked up in the key directory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol.api.errors import ApiError
from server.accounts import AuthRefusal, Identity
from server.observe import request_notes

if TYPE_CHECKING:
    from server.accounts import KeyDirectory
    from server.accounts.ports import RefusalCode
    from server.api.call import HeaderReader

MAX_TOKEN_CHARACTERS: Final = 4096
_TYPE: Final = "authentication_error"
_TEXTS: Final[dict[RefusalCode, str]] = {
    "invalid_api_key": "This API key is not known; check it, or make a new one.",
    "key_disabled": "This API key is disabled; enable it or use another one.",
    "key_expired": "This API key has expired; make a new one.",
    "key_revoked": "This API key was revoked; make a new one.",
}


def token_of(headers: HeaderReader) -> str | None:
    """The token of a request: `Authorization: Bearer` in any case if it yields one, else `x-api-key`."""
    scheme, _, rest = headers.get("Authorization", "").strip().partition(" ")
    token = rest.strip() if scheme.lower() == "bearer" else ""
    token = token or headers.get("x-api-key", "").strip()
    return token if 0 < len(token) <= MAX_TOKEN_CHARACTERS else None


async def authenticate(keys: KeyDirectory, headers: HeaderReader) -> Identity:
    """Find the caller, and note the account for the request log.

    Raises ApiError 401. Missing and unknown keys have the same code; one that was good once says what became of it.
    """
    token = token_of(headers)
    if token is None:
        raise ApiError(401, _TYPE, "An API key is needed; send it as 'Authorization: Bearer KEY'.")
    found = await keys.authenticate(token)
    if isinstance(found, AuthRefusal):
        raise ApiError(401, _TYPE, _TEXTS[found.code], code=None if found.code == "invalid_api_key" else found.code)
    request_notes().account_id = found.account_id
    return found


def check_model_allowed(identity: Identity, model: str) -> None:
    """Raise ApiError 403 unless the key may ask for a model under the name as sent."""
    if not identity.may_use(model):
        text = f"This API key may not use the model {model[:100]!r}; ask for another model or change the key."
        raise ApiError(403, "model_not_allowed", text, param="model")
