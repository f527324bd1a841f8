"""Passwords: what is accepted, and scrypt hashes of them, computed in threads, few at once.

Invariant: checking against nobody's hash takes as long as against somebody's, so that the time tells nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import unicodedata
from typing import Final

import trio

from protocol.api.errors import ApiError

LOG_N: Final = 15
BLOCK: Final = 8
PARALLEL: Final = 1
SALT_BYTES: Final = 16
HASH_BYTES: Final = 32
MEMORY: Final = 64 * 1024 * 1024
MIN_CHARACTERS: Final = 10
MAX_CHARACTERS: Final = 256
AT_ONCE: Final = 2
MAX_WAITING: Final = 64
BUSY_RETRY_SECONDS: Final = 2
_COMMON_TEXT: Final = """
1234567890 0123456789 12345678910 123456789a 1q2w3e4r5t qwertyuiop qwerty12345 qwerty1234 asdfghjkl1
zxcvbnm123 password12 password123 password1234 password12345 passw0rd123 passw0rd1234 p@ssw0rd123 p@ssword123
password!1 mypassword letmein123 letmein1234 welcome123 welcome1234 iloveyou12 iloveyou123 administrator
admin12345 administrator1 changeme123 changeme12 football123 baseball123 superman123 sunshine123 princess123
dragon12345 monkey12345 michael123 charlie123 abcdefghij abcd123456 abc1234567 aaaaaaaaaa 1111111111 0000000000
9876543210 0987654321 1234512345 1122334455 qazwsxedcrfv 1qaz2wsx3edc qwertyuiop123 trustno1trustno1 darkbloom1
darkbloom123 darkbloomdarkbloom
"""
_COMMON: Final = frozenset(_COMMON_TEXT.split())


class PasswordRefused(ValueError):
    """A new password is not good enough; the text says why, and never holds it."""


def check_new_password(password: str, login: str) -> None:
    """Raise PasswordRefused for a password that nobody should use."""
    if len(password) < MIN_CHARACTERS:
        raise PasswordRefused(f"The password is shorter than {MIN_CHARACTERS} characters; choose a longer one.")
    if len(password) > MAX_CHARACTERS:
        raise PasswordRefused(f"The password is longer than {MAX_CHARACTERS} characters; choose a shorter one.")
    plain = password.lower()
    if plain in _COMMON or len(set(plain)) < 4:
        raise PasswordRefused("The password is one of the most common ones; choose another.")
    if plain == login.lower() or plain == login.lower().partition("@")[0]:
        raise PasswordRefused("The password is the name itself; choose another.")


class PasswordHasher:
    """At most two hashes at once, at most 64 waiting; `log_n` is the cost (15 is 32 MiB and about 0.1 s)."""

    def __init__(self, *, log_n: int = LOG_N) -> None:
        self._log_n = log_n
        self._limiter = trio.CapacityLimiter(AT_ONCE)
        self._waiting = 0
        self._nobody = _written(log_n, b"\0" * SALT_BYTES, b"\0" * HASH_BYTES)

    async def hash(self, password: str) -> str:
        """Give the stored form of a password; raises ApiError 429 when too many wait."""
        salt = secrets.token_bytes(SALT_BYTES)
        return _written(self._log_n, salt, await self._derive(password, self._log_n, salt))

    async def matches(self, password: str, stored: str | None) -> bool:
        """Compare with a stored form; None takes as long and never matches. Raises ApiError 429 when too many wait."""
        log_n, salt, expected = _read(stored if stored is not None else self._nobody)
        found = await self._derive(password, log_n, salt)
        return hmac.compare_digest(found, expected) and stored is not None

    async def _derive(self, password: str, log_n: int, salt: bytes) -> bytes:
        if self._waiting >= MAX_WAITING:
            text = "Too many people sign in at this moment; try again in a few seconds."
            raise ApiError(429, "rate_limit_exceeded", text, retry_after_seconds=BUSY_RETRY_SECONDS)
        secret = unicodedata.normalize("NFKC", password[:MAX_CHARACTERS]).encode("utf-8", "surrogatepass")
        self._waiting += 1
        try:
            return await trio.to_thread.run_sync(_scrypt, secret, salt, log_n, limiter=self._limiter)
        finally:
            self._waiting -= 1


def _scrypt(secret: bytes, salt: bytes, log_n: int) -> bytes:
    return hashlib.scrypt(secret, salt=salt, n=1 << log_n, r=BLOCK, p=PARALLEL, maxmem=MEMORY, dklen=HASH_BYTES)


def _written(log_n: int, salt: bytes, derived: bytes) -> str:
    return f"scrypt${log_n}${base64.b64encode(salt).decode()}${base64.b64encode(derived).decode()}"


def _read(stored: str) -> tuple[int, bytes, bytes]:
    _, log_n, salt, derived = stored.split("$")
    return min(int(log_n), LOG_N), base64.b64decode(salt), base64.b64decode(derived)
