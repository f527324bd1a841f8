"""The rotating public keys of Privy (a JSON Web Key Set, RFC 7517), fetched when needed and kept.

Invariant: at most one fetch runs, and an unknown key id causes at most one a minute, so that forged tokens cannot make
this process hammer the identity provider.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import jwt
import msgspec
import trio
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey

from server.accounts.bounded_http import CallFailed, call
from server.accounts.privy_tokens import KeysUnavailable, TokenRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

_log = logging.getLogger("darkbloom.accounts")

KEEP_SECONDS: Final = 3600.0
UNKNOWN_KEY_SECONDS: Final = 60.0
MAX_BYTES: Final = 64 * 1024
MAX_KEYS: Final = 32


class KeySet:
    """Keys by id from a URL; `clock` is monotonic seconds, `client` has its own timeouts."""

    def __init__(self, url: str, *, client: httpx.AsyncClient, clock: Callable[[], float]) -> None:
        self._url = url
        self._client = client
        self._clock = clock
        self._keys: dict[str, EllipticCurvePublicKey] = {}
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._fetching = trio.Lock()

    async def key_for(self, key_id: str | None) -> EllipticCurvePublicKey:
        """See PublicKeys. Without an id the set must hold exactly one key."""
        found = self._find(key_id)
        if found is not None and self._is_fresh():
            return found
        if self._may_fetch(found is not None):
            async with self._fetching:
                if self._may_fetch(found is not None):
                    await self._fetch()
        found = self._find(key_id)
        if found is not None:
            # Old keys are better than none while the provider does not answer.
            return found
        if self._fetched_at is None:
            raise KeysUnavailable
        raise TokenRefused("The token is signed with an unknown key.")

    def _find(self, key_id: str | None) -> EllipticCurvePublicKey | None:
        if key_id is not None:
            return self._keys.get(key_id)
        return next(iter(self._keys.values())) if len(self._keys) == 1 else None

    def _is_fresh(self) -> bool:
        return self._fetched_at is not None and self._clock() - self._fetched_at < KEEP_SECONDS

    def _may_fetch(self, known: bool) -> bool:
        if known and self._is_fresh():
            return False
        return self._tried_at is None or self._clock() - self._tried_at >= UNKNOWN_KEY_SECONDS

    async def _fetch(self) -> None:
        self._tried_at = self._clock()
        try:
            status, body = await call(self._client, "GET", self._url, max_bytes=MAX_BYTES)
            if status != 200:
                raise CallFailed(f"status {status}")
            self._keys = _read(body)
            self._fetched_at = self._clock()
        except (CallFailed, ValueError) as error:
            _log.warning("the identity provider's keys could not be fetched", extra={"cause": type(error).__name__})


def _read(body: bytes) -> dict[str, EllipticCurvePublicKey]:
    """Read the P-256 signature keys of a set; anything else in it is passed over. Raises ValueError."""
    decoded = msgspec.json.decode(body)
    listed = decoded.get("keys") if isinstance(decoded, dict) else None
    if not isinstance(listed, list):
        raise ValueError("no keys")
    found: dict[str, EllipticCurvePublicKey] = {}
    for entry in listed[:MAX_KEYS]:
        key = _read_key(entry) if isinstance(entry, dict) else None
        if key is not None:
            found[str(entry.get("kid", ""))] = key
    return found


def _read_key(entry: Mapping[str, object]) -> EllipticCurvePublicKey | None:
    if entry.get("kty") != "EC" or entry.get("crv") != "P-256" or entry.get("use", "sig") != "sig":
        return None
    try:
        key = jwt.PyJWK({**entry, "alg": "ES256"}).key
    except jwt.PyJWTError:
        return None
    return key if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1) else None
