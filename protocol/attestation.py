"""The registration blob: what a provider's identity key signs about its machine, and how it is verified.

The signature covers the exact bytes of the inner `attestation` object as they arrived; nothing is ever re-encoded.
"""

import json
from typing import Any, Final, Literal, NamedTuple, NoReturn

import msgspec

from protocol.codec import attested_bytes
from protocol.messages.wire import raw_bytes
from protocol.p256 import (
    BadPublicKey,
    BadSignature,
    parse_p256_public,
    parse_signature,
    public_text,
    verify_p256,
)
from protocol.rfc3339 import parse_rfc3339
from protocol.strict_base64 import decode_strict_base64

MAX_BLOB_BYTES: Final = 16 * 1024
MAX_ENVELOPE_BYTES: Final = MAX_BLOB_BYTES + 1024
MAX_BLOB_DEPTH: Final = 8
FRESHNESS_SECONDS: Final = 120.0

BlobCode = Literal[
    "ok",
    "absent",
    "parse_error",
    "bad_timestamp",
    "bad_key_b64",
    "bad_key",
    "bad_sig_b64",
    "bad_sig_der",
    "sig_mismatch",
    "no_enclave",
    "sip_off",
    "secure_boot_off",
    "nonce_mismatch",
    "replayed_blob",
    "enc_key_missing",
    "enc_key_mismatch",
]

BLOB_TEXTS: Final[dict[BlobCode, str]] = {
    "ok": "",
    "absent": "no attestation",
    "parse_error": "invalid attestation JSON",
    "bad_timestamp": "invalid timestamp",
    "bad_key_b64": "invalid public key base64",
    "bad_key": "invalid public key",
    "bad_sig_b64": "invalid signature base64",
    "bad_sig_der": "invalid DER signature",
    "sig_mismatch": "signature verification failed",
    "no_enclave": "Secure Enclave not available",
    "sip_off": "SIP not enabled",
    "secure_boot_off": "Secure Boot not enabled",
    "nonce_mismatch": "registration nonce mismatch",
    "replayed_blob": "attestation timestamp is not fresh",
    "enc_key_missing": "attestation missing encryption public key",
    "enc_key_mismatch": "encryption key mismatch",
}


class AttestationFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """What a provider states about its machine; texts are left out when empty, flags are always written."""

    authenticated_root_enabled: bool = msgspec.field(default_factory=bool)
    chip_name: str = msgspec.field(default_factory=str)
    hardware_model: str = msgspec.field(default_factory=str)
    os_version: str = msgspec.field(default_factory=str)
    rdma_disabled: bool = msgspec.field(default_factory=bool)
    secure_boot_enabled: bool = msgspec.field(default_factory=bool)
    secure_enclave_available: bool = msgspec.field(default_factory=bool)
    sip_enabled: bool = msgspec.field(default_factory=bool)
    binary_hash: str = ""
    chip_family: str = ""
    metallib_hash: str = ""
    runtime_capabilities: tuple[str, ...] = ()
    serial_number: str = ""
    system_volume_hash: str = ""
    hypervisor_active: bool | None = None
    platform: str = ""
    dev_attestation: bool = False
    registration_nonce: str = ""


class AttestationBlob(AttestationFacts, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """The signed object: the facts, the signing key S, the encryption key K, and the time of signing."""

    public_key: str = msgspec.field(default_factory=str)
    encryption_public_key: str = ""
    timestamp: str = msgspec.field(default_factory=str)


class BlobVerdict(NamedTuple):
    """Result of a verification.

    `code` is the first failed check, `details` are all failed posture checks. `blob` and `signing_key` (base64 of the
    65-byte key) are set only when the signature verified, whatever came after. `open_mode` means that no attestation
    was sent. `dev` means that posture checks were waived for this connection. `stale` says that the blob is outside the
    freshness window, even when that was not enforced.
    """

    code: BlobCode
    details: tuple[BlobCode, ...] = ()
    blob: AttestationBlob | None = None
    signing_key: str = ""
    dev: bool = False
    stale: bool = False

    @property
    def valid(self) -> bool:
        """Whether the provider may be `self_signed`."""
        return self.code == "ok"

    @property
    def open_mode(self) -> bool:
        """Whether the provider sent no attestation at all."""
        return self.code == "absent"

    @property
    def text(self) -> str:
        """The stable text of the code."""
        return BLOB_TEXTS[self.code]


def verify_blob(
    raw: msgspec.Raw,
    *,
    register_public_key: str,
    now: float,
    allow_dev: bool,
    enforce_freshness: bool = True,
    registration_nonce: str = "",
) -> BlobVerdict:
    """Verify `register.attestation`; never raises for foreign input.

    `register_public_key` is the registered K text, `""` when the provider has none or it was invalid. `now` is Unix
    seconds. `allow_dev` lets a blob that says `devAttestation: true` pass without Secure Enclave, SIP and Secure Boot.
    `registration_nonce` is the nonce of the upgrade response; a blob that carries it is fresh by that alone.
    """
    if not raw_bytes(raw):
        return BlobVerdict("absent")
    parsed = _parse(raw)
    if parsed is None:
        return BlobVerdict("parse_error")
    blob, signed, signature = parsed
    try:
        signed_at = parse_rfc3339(blob.timestamp)
    except (ValueError, OverflowError):
        return BlobVerdict("bad_timestamp")
    try:
        key = parse_p256_public(blob.public_key)
        parse_signature(signature)
    except (BadPublicKey, BadSignature) as error:
        return BlobVerdict(error.code)
    if not verify_p256(key, signed, signature):
        return BlobVerdict("sig_mismatch")

    dev = allow_dev and blob.dev_attestation
    posture = () if dev else _posture_failures(blob)
    stale = abs(now - signed_at) > FRESHNESS_SECONDS
    later = _binding_failure(
        blob, register_public_key, registration_nonce=registration_nonce, stale=stale and enforce_freshness
    )
    code: BlobCode = posture[0] if posture else later or "ok"
    return BlobVerdict(code, posture, blob, public_text(key), dev, stale)


def _parse(raw: msgspec.Raw) -> tuple[AttestationBlob, bytes, str] | None:
    """Parse the envelope strictly; gives the blob, its exact bytes and the signature text."""
    envelope = raw_bytes(raw)
    signed = attested_bytes(raw)
    if len(envelope) > MAX_ENVELOPE_BYTES or len(signed) > MAX_BLOB_BYTES:
        return None
    try:
        # msgspec refuses what the JSON module of Python tolerates (lone surrogates, NaN); only the latter shows pairs.
        msgspec.json.decode(envelope)
        members = json.loads(envelope.decode(), object_pairs_hook=_unique, parse_constant=_refuse)
        if not isinstance(members, dict) or not isinstance(members.get("attestation"), dict):
            return None
        facts = {name: value for name, value in members["attestation"].items() if value is not None}
        if not _within_depth(facts, MAX_BLOB_DEPTH):
            return None
        blob = msgspec.convert(facts, AttestationBlob)
        signature = msgspec.convert(members.get("signature") or "", str)
    except (ValueError, RecursionError):
        return None
    return (blob, signed, signature) if signed else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("A key stands twice.")
    return members


def _refuse(_constant: str) -> NoReturn:
    raise ValueError("The constant is not JSON.")


def _within_depth(value: object, levels: int) -> bool:
    if isinstance(value, dict):
        return levels > 0 and all(_within_depth(member, levels - 1) for member in value.values())
    if isinstance(value, list):
        return levels > 0 and all(_within_depth(element, levels - 1) for element in value)
    return True


def _posture_failures(blob: AttestationBlob) -> tuple[BlobCode, ...]:
    checks: tuple[tuple[bool, BlobCode], ...] = (
        (blob.secure_enclave_available, "no_enclave"),
        (blob.sip_enabled, "sip_off"),
        (blob.secure_boot_enabled, "secure_boot_off"),
    )
    return tuple(code for holds, code in checks if not holds)


def _binding_failure(
    blob: AttestationBlob, register_public_key: str, *, registration_nonce: str, stale: bool
) -> BlobCode | None:
    """Check freshness, then that the blob names the registered encryption key."""
    if blob.registration_nonce:
        if blob.registration_nonce != registration_nonce:
            return "nonce_mismatch"
    elif stale:
        return "replayed_blob"
    if not register_public_key:
        return None
    if not blob.encryption_public_key:
        return "enc_key_missing"
    return None if same_key(blob.encryption_public_key, register_public_key) else "enc_key_mismatch"


def same_key(left: str, right: str) -> bool:
    """Compare two X25519 key texts by their 32 decoded bytes; False when either does not decode."""
    try:
        return decode_strict_base64(left) == decode_strict_base64(right)
    except ValueError:
        return False


__all__ = [
    "BLOB_TEXTS",
    "FRESHNESS_SECONDS",
    "AttestationBlob",
    "AttestationFacts",
    "BlobCode",
    "BlobVerdict",
    "parse_p256_public",
    "same_key",
    "verify_blob",
    "verify_p256",
]
