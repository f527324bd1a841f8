"""Decrypts age v1 files for one X25519 identity, from the format's description alone: an oracle for our archives.

Format: a header of text lines ending in an HMAC-SHA-256, then a 16-byte nonce and ChaCha20-Poly1305 chunks of 64 KiB
whose nonces count up and whose last byte says which is the last (age-encryption.org/v1).
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

CHUNK = 64 * 1024
_LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def new_identity() -> tuple[X25519PrivateKey, str]:
    """A private key and its recipient text, `age1…`."""
    key = X25519PrivateKey.generate()
    return key, _bech32("age", _public(key))


def decrypt(data: bytes, key: X25519PrivateKey) -> bytes:
    """The plaintext; ValueError or InvalidTag for anything that is not a sound file for this key."""
    header, mac, body = _split(data)
    file_key = _unwrap(header, key)
    expected = hmac.new(_derive(file_key, b"", b"header"), header, hashlib.sha256).digest()
    if not hmac.compare_digest(mac, expected):
        raise ValueError("The header's MAC is wrong.")
    cipher = ChaCha20Poly1305(_derive(file_key, body[:16], b"payload"))
    payload = body[16:]
    pieces = [payload[start : start + CHUNK + 16] for start in range(0, len(payload), CHUNK + 16)]
    plain = []
    for number, piece in enumerate(pieces):
        nonce = number.to_bytes(11, "big") + bytes([number == len(pieces) - 1])
        plain.append(cipher.decrypt(nonce, piece, None))
    return b"".join(plain)


def _split(data: bytes) -> tuple[bytes, bytes, bytes]:
    if not data.startswith(b"age-encryption.org/v1\n"):
        raise ValueError("This is no age v1 file.")
    at = data.index(b"\n---") + 4
    end = data.index(b"\n", at)
    return data[:at], _unbase64(data[at:end].strip()), data[end + 1 :]


def _unwrap(header: bytes, key: X25519PrivateKey) -> bytes:
    lines = header.decode().splitlines()
    for number, line in enumerate(lines):
        if not line.startswith("-> X25519 "):
            continue
        share = _unbase64(line.split()[2].encode())
        shared = key.exchange(X25519PublicKey.from_public_bytes(share))
        wrapping = _derive(shared, share + _public(key), b"age-encryption.org/v1/X25519")
        return ChaCha20Poly1305(wrapping).decrypt(bytes(12), _unbase64(lines[number + 1].encode()), None)
    raise ValueError("The file has no X25519 recipient.")


def _derive(secret: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(secret)


def _public(key: X25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def _unbase64(text: bytes) -> bytes:
    return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)


def _bech32(prefix: str, data: bytes) -> str:
    bits = "".join(f"{byte:08b}" for byte in data)
    values = [int(bits[start : start + 5].ljust(5, "0"), 2) for start in range(0, len(bits), 5)]
    spread = [ord(letter) >> 5 for letter in prefix] + [0] + [ord(letter) & 31 for letter in prefix]
    checked = _polymod([*spread, *values, 0, 0, 0, 0, 0, 0]) ^ 1
    return f"{prefix}1" + "".join(
        _LETTERS[value] for value in [*values, *((checked >> 5 * (5 - place)) & 31 for place in range(6))]
    )


def _polymod(values: list[int]) -> int:
    sums = 1
    for value in values:
        top = sums >> 25
        sums = (sums & 0x1FFFFFF) << 5 ^ value
        for place, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            sums ^= generator if top >> place & 1 else 0
    return sums
