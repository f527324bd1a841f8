"""Whose prompts may share what machines computed: those of one account, and behind a partner's key of one end user.

A partner asks for many people under one account. Could they meet in a cache, each could find out by `cached_tokens`
what the others have asked. So the name that the partner gives an end user is a part of the owner.

Invariant: a name only narrows within its account; it is kept as a keyed hash.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

if TYPE_CHECKING:
    from protocol.api import ChatRequest
    from server.accounts import Identity

NAME_BYTES_MAX: Final = 1_024
"""Of a name as it was sent; a longer one is none."""
_NAMES: Final = ("safety_identifier", "user")


class CacheOwner(NamedTuple):
    """The owner's name in scopes and keys, and whether it is one customer: requests go to the caches of those alone."""

    name: str
    is_one: bool


def cache_owner(secret: bytes, identity: Identity, chat: ChatRequest) -> CacheOwner:
    """Return the owner of what is computed of a prompt; behind a partner's key all that are not named share one."""
    account = identity.account_id
    if not identity.is_service:
        return CacheOwner(account, is_one=True)
    for member in _NAMES:
        name = _name(chat.fields.get(member))
        if name:
            hashed = hmac.digest(secret, f"end user\0{account}\0{name}".encode(), "sha256").hex()
            return CacheOwner(f"{account}\0{hashed}", is_one=True)
    return CacheOwner(account, is_one=False)


def _name(sent: msgspec.Raw | None) -> str:
    """The text of a member; empty for what is no name."""
    if sent is None or len(memoryview(sent)) > NAME_BYTES_MAX:
        return ""
    try:
        return msgspec.json.decode(sent, type=str)
    except msgspec.MsgspecError:
        return ""
