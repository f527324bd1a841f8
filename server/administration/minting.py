"""Access tokens for installations without an identity provider: signed with the operator's own P-256 key.

They are what the identity provider's tokens are (RFC 7519, ES256), so that there is one way of checking them.
"""

from __future__ import annotations

import secrets
from typing import Final

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from server.accounts.privy_tokens import ISSUER, load_public_key
from server.accounts.users import LOCAL_PREFIX

MAX_LIFE_SECONDS: Final = 366 * 86_400


class KeyUnusable(ValueError):
    """The signing key cannot be used; the text says why, and never holds it."""


def new_key_pair() -> tuple[bytes, str]:
    """Make a P-256 key: the private part in PEM (PKCS 8), and the public part for the settings."""
    key = generate_private_key(SECP256R1())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private, _public_text(key)


def load_signing_key(pem: bytes) -> EllipticCurvePrivateKey:
    """Read an unencrypted P-256 private key in PEM; raises KeyUnusable."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyUnusable("The file holds no unencrypted private key in PEM.") from None
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise KeyUnusable("The private key is not a P-256 key, which ES256 needs.")
    return key


def belongs_to(key: EllipticCurvePrivateKey, public_pem: str) -> bool:
    """Whether a public key in PEM is that of the private key; raises ValueError for something else."""
    return key.public_key().public_numbers() == load_public_key(public_pem).public_numbers()


def subject_of(name: str) -> str:
    """Give the subject of a name: `local:` goes before it unless it is there; raises ValueError."""
    subject = name if name.startswith(LOCAL_PREFIX) else LOCAL_PREFIX + name
    rest = subject.removeprefix(LOCAL_PREFIX)
    if not rest or len(subject) > 255 or not all("!" <= character <= "~" for character in subject):
        raise ValueError("The name must have 1 to 249 printable ASCII characters and no spaces.")
    return subject


def mint(key: EllipticCurvePrivateKey, *, app_id: str, subject: str, now: int, life_seconds: int) -> str:
    """Sign a token that is good from `now` (Unix seconds) for so long."""
    claims = {
        "iss": ISSUER,
        "aud": app_id,
        "sub": subject,
        "sid": secrets.token_hex(8),
        "iat": now,
        "exp": now + life_seconds,
    }
    return jwt.encode(claims, key, algorithm="ES256")


def _public_text(key: EllipticCurvePrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
