"""Secrets that the coordinator makes, and the only form in which it keeps them: a SHA-256 in hexadecimal digits.

Unsalted hashes are right for these: every secret has 256 random bits, so no table can be prepared.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from protocol.settings import Secret

KEY_PREFIX: Final = "sk-db-"
PROVIDER_TOKEN_PREFIX: Final = "eigeninference-pt-"
SECRET_BYTES: Final = 32
ID_BYTES: Final = 12
LABEL_HEAD: Final = 10
LABEL_TAIL: Final = 4
KEY_ID: Final = re.compile(r"key_[0-9a-f]{24}", re.ASCII)
HEX_64: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


def new_api_key() -> str:
    """Make the secret of an API key."""
    return KEY_PREFIX + secrets.token_hex(SECRET_BYTES)


def new_key_id() -> str:
    """Make the public id of an API key."""
    return "key_" + secrets.token_hex(ID_BYTES)


def new_provider_token() -> str:
    """Make the token with which a machine says whose it is."""
    return PROVIDER_TOKEN_PREFIX + secrets.token_hex(SECRET_BYTES)


def new_opaque() -> str:
    """Make a device code or a session cookie: 32 random bytes in hexadecimal digits."""
    return secrets.token_hex(SECRET_BYTES)


def hash_of(secret: str) -> str:
    """Give the lower-case hexadecimal SHA-256 of a whole secret; any text is accepted."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def label_of(api_key: str) -> str:
    """Give what may be shown of a key: its first 10 and last 4 characters."""
    return f"{api_key[:LABEL_HEAD]}...{api_key[-LABEL_TAIL:]}"


def legacy_account_id(key_hash: str) -> str:
    """Give the account of a key without owner; the raw key itself is never an identity."""
    return f"legacy:{key_hash}"


class ListedSecrets:
    """A few secrets from the settings, kept as digests; a lookup compares with all of them in constant time."""

    def __init__(self, listed: Iterable[Secret | None]) -> None:
        self._digests = [hash_of(one.reveal()) for one in listed if one is not None]

    def __len__(self) -> int:
        return len(self._digests)

    def __repr__(self) -> str:
        return f"<ListedSecrets {len(self)}>"

    def __contains__(self, token: str) -> bool:
        return self.has_hash(hash_of(token))

    def has_hash(self, digest: str) -> bool:
        """Whether the secret with this hash is listed."""
        found = False
        for known in self._digests:
            found |= hmac.compare_digest(known, digest)
        return found
