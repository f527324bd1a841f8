"""Who may do what: one small function for each guard. Each raises ApiError, and gives back what it checked.

`authentication_error` and `auth_error` are 401, `forbidden` is 403; an ordinary API key never passes as a person or as
an administrator, whoever owns it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.api.errors import ApiError

if TYPE_CHECKING:
    from server.accounts.credentials import ListedSecrets
    from server.accounts.ports import Identity, MachineTokens
    from server.accounts.publishing_keys import PublishingKeys


def require_session(caller: Identity) -> Identity:
    """Pass a person who is signed in: a Privy token, or a cookie that was not opened with an API key."""
    if not caller.is_session:
        raise ApiError(403, "forbidden", "This needs a signed-in person; an API key cannot do it.")
    return caller


def require_user(caller: Identity) -> Identity:
    """Pass a caller who has a user account: a person, or an API key that a person owns."""
    if not caller.has_user:
        raise ApiError(401, "auth_error", "This needs a user account; admin keys and keys without owner have none.")
    return caller


def require_user_session(caller: Identity) -> Identity:
    """Pass a signed-in person with a user account: what moves money or changes credentials."""
    return require_user(require_session(caller))


def require_api_key(caller: Identity) -> Identity:
    """Pass an API key (or the browser session that one opened)."""
    if caller.credential != "key":
        raise ApiError(404, "not_found", "This request was not made with an API key.")
    return caller


def require_admin(caller: Identity) -> Identity:
    """Pass the admin key, or a signed-in administrator."""
    if not caller.is_admin or caller.credential == "key":
        raise ApiError(403, "forbidden", "admin access required")
    return caller


def require_admin_key(token: str | None, admin_keys: ListedSecrets) -> None:
    """Pass the admin key alone, without looking anything up."""
    if token is None or token not in admin_keys:
        raise ApiError(403, "forbidden", "admin access required")


def require_release_key(token: str | None, release_keys: ListedSecrets) -> None:
    """Pass the key that registers releases and can do nothing else."""
    if token is None or token not in release_keys:
        raise ApiError(401, "unauthorized", "This needs the release key as bearer token.")


async def require_publishing(header: str | None, token: str | None, keys: PublishingKeys) -> str:
    """Pass a publishing key (its header wins over the bearer) and give its name; raises StoreUnavailable."""
    shown = (header or "").strip() or token
    if not shown:
        text = "This needs a publishing key, in X-Darkbloom-Publishing-Key or as bearer token."
        raise ApiError(401, "authentication_error", text)
    name = await keys.name_of(shown)
    if name is None:
        raise ApiError(403, "forbidden", "This publishing key is not known, or not active any more.")
    return name


async def require_provider(token: str | None, tokens: MachineTokens) -> str:
    """Pass the token of a linked machine and give its account; raises StoreUnavailable."""
    account_id = None if not token else await tokens.account_of(token)
    if account_id is None:
        text = "This needs the token of a linked machine; run 'darkbloom login' on it."
        raise ApiError(401, "authentication_error", text)
    return account_id
