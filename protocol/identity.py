"""Signing on the provider's side: the signer interface, the software key, and the two signed objects."""

from base64 import b64encode
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from protocol import p256
from protocol.attestation import AttestationBlob, AttestationFacts
from protocol.canonical import CANONICAL_VERSION, canonical, challenge_bytes, status_bytes, status_bytes_v2
from protocol.messages.from_provider import AttestationExtension, AttestationResponse


class Signer(Protocol):
    """A P-256 identity key S, wherever its private half lives."""

    def public65(self) -> bytes:
        """Give the uncompressed public point, 65 bytes."""
        ...

    def sign(self, data: bytes) -> bytes:
        """Give a DER ECDSA signature over SHA-256 of `data`."""
        ...


class SoftwareSigner:
    """An identity key in memory, for machines without a security chip; its holder must not claim to have one."""

    def __init__(self, private_key: p256.PrivateKey) -> None:
        self._private_key = private_key
        self._public65 = p256.public65_of(private_key)

    @classmethod
    def generate(cls) -> "SoftwareSigner":
        """Make a new identity."""
        return cls(p256.generate_private_key())

    @classmethod
    def from_pem(cls, pem: bytes) -> "SoftwareSigner":
        """Read an identity from PKCS8 PEM; raises `ValueError` for any other content."""
        return cls(p256.load_private_pem(pem))

    @classmethod
    def from_scalar(cls, scalar: int) -> "SoftwareSigner":
        """Make the identity of a known private scalar, for fixtures."""
        return cls(p256.private_key_of(scalar))

    def to_pem(self) -> bytes:
        """Write the identity as PKCS8 PEM without a password; the caller keeps the file private."""
        return p256.dump_private_pem(self._private_key)

    def public65(self) -> bytes:
        """Give the uncompressed public point, 65 bytes."""
        return self._public65

    def sign(self, data: bytes) -> bytes:
        """Give a DER ECDSA signature over SHA-256 of `data`."""
        return p256.sign_der(self._private_key, data)

    def __repr__(self) -> str:
        return f"<SoftwareSigner {p256.public_text(self._public65)[:12]}…>"


@dataclass(frozen=True, slots=True)
class Posture:
    """Measured facts of one moment for a challenge reply; None flags and empty texts are left out."""

    sip_enabled: bool | None
    secure_boot_enabled: bool | None
    rdma_disabled: bool | None
    binary_hash: str = ""
    active_model_hash: str = ""
    python_hash: str = ""
    runtime_hash: str = ""
    template_hashes: dict[str, str] = field(default_factory=dict)
    model_hashes: dict[str, str] = field(default_factory=dict)


def sign_text(signer: Signer, data: bytes) -> str:
    """Sign data; gives base64 of the DER signature."""
    return b64encode(signer.sign(data)).decode()


def build_attestation(
    signer: Signer, *, facts: AttestationFacts, encryption_public_key: str, timestamp: str
) -> msgspec.Raw:
    """Build `register.attestation`; sign anew for every registration, because the blob is fresh for two minutes only.

    `timestamp` is RFC 3339 UTC in whole seconds with `Z`. The result holds the very bytes that were signed.
    """
    blob = AttestationBlob(
        **{name: getattr(facts, name) for name in AttestationFacts.__struct_fields__},
        public_key=p256.public_text(signer.public65()),
        encryption_public_key=encryption_public_key,
        timestamp=timestamp,
    )
    signed = canonical(msgspec.to_builtins(blob))
    return msgspec.Raw(b'{"attestation":%b,"signature":"%b"}' % (signed, b64encode(signer.sign(signed))))


def build_challenge_reply(
    signer: Signer | None, nonce: str, timestamp: str, posture: Posture, public_key: str
) -> AttestationResponse:
    """Answer a challenge with fresh posture: both signatures, and the second status signature beside them.

    `public_key` is the registered K text. Without a signer (open mode) all signatures are empty.
    """
    reply = AttestationResponse(
        nonce=nonce,
        public_key=public_key,
        sip_enabled=posture.sip_enabled,
        secure_boot_enabled=posture.secure_boot_enabled,
        rdma_disabled=posture.rdma_disabled,
        binary_hash=posture.binary_hash,
        active_model_hash=posture.active_model_hash,
        python_hash=posture.python_hash,
        runtime_hash=posture.runtime_hash,
        template_hashes=posture.template_hashes,
        model_hashes=posture.model_hashes,
    )
    if signer is None:
        return reply
    return msgspec.structs.replace(
        reply,
        signature=sign_text(signer, challenge_bytes(nonce, timestamp)),
        status_signature=sign_text(signer, status_bytes(nonce, timestamp, reply)),
        darkbloom=AttestationExtension(
            status_signature_v2=sign_text(signer, status_bytes_v2(nonce, timestamp, reply)),
            canonical_version=CANONICAL_VERSION,
        ),
    )
