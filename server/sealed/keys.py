"""The coordinator's key for sealed requests, derived from a mnemonic that its operator keeps.

mnemonic → BIP-39 seed (empty passphrase) → HKDF-SHA256 → X25519 private key. The info text is shared with every other
coordinator that derives its key this way, so that the same words give the same key.

Invariant: a private key lives in one `WipeableKey`; neither it nor the words appear in a `repr`, a log or an error.
"""

from __future__ import annotations

import hashlib
import unicodedata
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from protocol.sealing import KEY_BYTES, WipeableKey

ALGORITHM: Final = "x25519-nacl-box"
WORD_COUNTS: Final = (12, 24)
_INFO: Final = b"eigeninference-coordinator-e2e-v1"
_SALT: Final = b"mnemonic"
_ROUNDS: Final = 2048
_SEED_BYTES: Final = 64
_KID_DIGITS: Final = 16


class MnemonicUnusable(ValueError):
    """The words cannot be a mnemonic; the text does not repeat them."""


@dataclass(frozen=True, slots=True)
class SealingKey:
    """One key pair: `kid` names it, `public` are its 32 public bytes."""

    kid: str
    public: bytes
    private: WipeableKey = field(repr=False)

    @classmethod
    def from_private(cls, private: bytes) -> SealingKey:
        """Take 32 private bytes."""
        key = WipeableKey.copied_from(private)
        public = key.public()
        return cls(hashlib.sha256(public).hexdigest()[:_KID_DIGITS], public, key)

    def described(self) -> dict[str, str]:
        """What `GET /v1/encryption-key` says."""
        return {"kid": self.kid, "public_key": b64encode(self.public).decode(), "algorithm": ALGORITHM}


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The key that is published, and the one before it, which is still accepted while clients learn the new one."""

    current: SealingKey
    previous: SealingKey | None = None

    def candidates(self, kid: str | None) -> tuple[SealingKey, ...]:
        """The keys that an envelope of this `kid` may be sealed to; all of them when it names none."""
        known = (self.current,) if self.previous is None else (self.current, self.previous)
        return known if not kid else tuple(key for key in known if key.kid == kid)


def key_from_mnemonic(text: str) -> SealingKey:
    """Derive the key of a mnemonic of 12 or 24 words; raises MnemonicUnusable for another number of words."""
    words = clean_mnemonic(text)
    seed = hashlib.pbkdf2_hmac("sha512", words.encode(), _SALT, _ROUNDS, _SEED_BYTES)
    return SealingKey.from_private(HKDF(SHA256(), KEY_BYTES, salt=None, info=_INFO).derive(seed))


def clean_mnemonic(text: str) -> str:
    """Bring a mnemonic into its one form: NFKD, single spaces; raises MnemonicUnusable."""
    words = unicodedata.normalize("NFKD", text).split()
    if len(words) not in WORD_COUNTS:
        raise MnemonicUnusable(f"A mnemonic has 12 or 24 words, not {len(words)}; write all of them on one line.")
    return " ".join(words)


def has_valid_checksum(text: str) -> bool:
    """Whether the words are of BIP-39's English list and their checksum holds; a typing error nearly always fails."""
    from mnemonic import Mnemonic

    return bool(Mnemonic("english").check(clean_mnemonic(text)))
