"""ECDSA over P-256 with SHA-256: strict parsing of keys and signatures, verification, signing.

The one module of this package that imports `cryptography`.
"""

from base64 import b64encode
from typing import Final, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from protocol.strict_base64 import decode_strict_base64

ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
UNCOMPRESSED_BYTES: Final = 65

PrivateKey = ec.EllipticCurvePrivateKey

_SHA256: Final = ec.ECDSA(hashes.SHA256())


class BadPublicKey(ValueError):
    """A P-256 public key cannot be used; `code` says whether its base64 or its point is at fault."""

    def __init__(self, code: Literal["bad_key_b64", "bad_key"]) -> None:
        super().__init__("The P-256 public key is not base64 of an uncompressed point on the curve.")
        self.code: Final = code


class BadSignature(ValueError):
    """A signature has the wrong form; `code` says whether its base64 or its DER is at fault."""

    def __init__(self, code: Literal["bad_sig_b64", "bad_sig_der"]) -> None:
        super().__init__("The signature is not base64 of a strict DER ECDSA signature.")
        self.code: Final = code


def parse_p256_public(text: str) -> bytes:
    """Decode base64 of 65 bytes (`04 ‖ X ‖ Y`) or 64 bytes (`X ‖ Y`) and give the 65-byte form.

    Raises `BadPublicKey`; compressed points and points off the curve are refused.
    """
    try:
        point = decode_strict_base64(text)
    except ValueError:
        raise BadPublicKey("bad_key_b64") from None
    if len(point) == UNCOMPRESSED_BYTES - 1:
        point = b"\x04" + point
    if len(point) != UNCOMPRESSED_BYTES or point[0] != 4:
        raise BadPublicKey("bad_key")
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError:
        raise BadPublicKey("bad_key") from None
    return point


def public_text(public65: bytes) -> str:
    """Give the normalised text of a key: base64 of its 65 bytes. Identities are keyed by this."""
    return b64encode(public65).decode()


def parse_signature(text: str) -> bytes:
    """Decode base64 of a strict DER `SEQUENCE {INTEGER r, INTEGER s}` with r and s in [1, n-1]; high s is allowed.

    Raises `BadSignature`.
    """
    try:
        der = decode_strict_base64(text)
    except ValueError:
        raise BadSignature("bad_sig_b64") from None
    try:
        r, s = decode_dss_signature(der)
    except ValueError:
        raise BadSignature("bad_sig_der") from None
    if not (0 < r < ORDER and 0 < s < ORDER) or encode_dss_signature(r, s) != der:
        raise BadSignature("bad_sig_der")
    return der


def verify_p256(public65: bytes, data: bytes, der_b64: str) -> bool:
    """Say whether `der_b64` signs `data` under the key; False for a signature of wrong form.

    `public65` comes from `parse_p256_public`; raises `ValueError` if it is no point.
    """
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public65)
    try:
        key.verify(parse_signature(der_b64), data, _SHA256)
    except (BadSignature, InvalidSignature):
        return False
    return True


def sign_der(private_key: PrivateKey, data: bytes) -> bytes:
    """Sign data; gives the DER signature."""
    return private_key.sign(data, _SHA256)


def sign_p256(private_key: PrivateKey, data: bytes) -> str:
    """Sign data; gives base64 of the DER signature."""
    return b64encode(sign_der(private_key, data)).decode()


def generate_private_key() -> PrivateKey:
    """Make a fresh P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def private_key_of(scalar: int) -> PrivateKey:
    """Make the key of a given scalar, for fixtures with known keys."""
    return ec.derive_private_key(scalar, ec.SECP256R1())


def public65_of(private_key: PrivateKey) -> bytes:
    """Give the uncompressed public point."""
    return private_key.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )


def load_private_pem(pem: bytes) -> PrivateKey:
    """Read a PKCS8 PEM without a password; raises `ValueError` if it is not a P-256 key."""
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("The identity file holds a key that is not P-256; remove it to make a new identity.")
    return key


def dump_private_pem(private_key: PrivateKey) -> bytes:
    """Write a PKCS8 PEM without a password."""
    return private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
