"""Access tokens of the identity provider Privy: JWTs with an ES256 signature (RFC 7515, 7518, 7519)."""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

if TYPE_CHECKING:
    from collections.abc import Mapping

ISSUER: Final = "privy.io"
LEEWAY_SECONDS: Final = 10
MEMO_SECONDS: Final = 300
MAX_MEMO: Final = 50_000
MAX_TOKEN: Final = 4096
_SUBJECT: Final = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)


class TokenRefused(Exception):
    """A token is not a valid session of this installation; the text says why, and never holds the token."""


class PublicKeys(Protocol):
    """Where the verification key of a token comes from."""

    async def key_for(self, key_id: str | None) -> EllipticCurvePublicKey:
        """Give the key with this id; raises TokenRefused, or StoreUnavailable's kind of trouble as KeysUnavailable."""


class KeysUnavailable(Exception):
    """The identity provider's keys cannot be fetched now; the token may be good."""


def load_public_key(pem: str) -> EllipticCurvePublicKey:
    r"""Read a P-256 public key in PEM, whose line ends may be written as `\n`; raises ValueError."""
    text = pem.replace("\\n", "\n").strip()
    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("The verification key is not a public key in PEM.") from None
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise ValueError("The verification key is not a P-256 key, which ES256 needs.")
    return key


class PinnedKey:
    """One key from the settings, whatever id a token names."""

    def __init__(self, pem: str) -> None:
        self._key = load_public_key(pem)

    async def key_for(self, key_id: str | None) -> EllipticCurvePublicKey:
        """See PublicKeys."""
        return self._key


@dataclass(frozen=True, slots=True)
class PrivySession:
    """A verified token: whose it is and until when, in Unix seconds."""

    did: str
    expires_at: float


class PrivyTokens:
    """Verifies tokens for one app id; a verified token is remembered for up to 5 minutes. `now` is Unix seconds."""

    def __init__(self, app_id: str, keys: PublicKeys, *, now: Callable[[], float], max_memo: int = MAX_MEMO) -> None:
        self._app_id = app_id
        self._keys = keys
        self._now = now
        self._max_memo = max_memo
        self._memo: OrderedDict[bytes, tuple[float, PrivySession]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._memo)

    def recall(self, token: str) -> PrivySession | None:
        """Give a session that was verified lately and is still good; nothing is verified."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        entry = self._memo.get(digest)
        if entry is None:
            return None
        if self._now() >= entry[0]:
            del self._memo[digest]
            return None
        return entry[1]

    async def verify(self, token: str) -> PrivySession:
        """Check signature and claims; raises TokenRefused, or KeysUnavailable."""
        known = self.recall(token)
        if known is not None:
            return known
        if len(token) > MAX_TOKEN or not token.isascii():
            raise TokenRefused("The token is not a compact JWS.")
        try:
            header: Mapping[str, Any] = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError:
            raise TokenRefused("The token is not a compact JWS.") from None
        if header.get("alg") != "ES256":
            raise TokenRefused("The token is not signed with ES256.")
        key_id = header.get("kid")
        key = await self._keys.key_for(key_id if isinstance(key_id, str) else None)
        session = self._checked(token, key)
        self._remember(token, session)
        return session

    def _checked(self, token: str, key: EllipticCurvePublicKey) -> PrivySession:
        try:
            # Times are checked below, against our own clock.
            claims = jwt.decode(
                token,
                key,
                algorithms=["ES256"],
                audience=self._app_id,
                issuer=ISSUER,
                options={
                    "require": ["exp", "iss", "aud", "sub"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except jwt.InvalidTokenError as error:
            raise TokenRefused(f"The token is not valid ({type(error).__name__}).") from None
        now = self._now()
        expires_at = claims["exp"]
        if not _is_number(expires_at) or expires_at <= now - LEEWAY_SECONDS:
            raise TokenRefused("The token has expired.")
        not_before = claims.get("nbf")
        if not_before is not None and (not _is_number(not_before) or not_before > now + LEEWAY_SECONDS):
            raise TokenRefused("The token is not valid yet.")
        did = claims["sub"]
        if not isinstance(did, str) or _SUBJECT.fullmatch(did) is None:
            raise TokenRefused("The token names no user.")
        return PrivySession(did, float(expires_at))

    def _remember(self, token: str, session: PrivySession) -> None:
        until = min(session.expires_at, self._now() + MEMO_SECONDS)
        if until <= self._now():
            return
        digest = hashlib.sha256(token.encode()).digest()
        self._memo[digest] = until, session
        if len(self._memo) > self._max_memo:
            self._memo.popitem(last=False)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e15
