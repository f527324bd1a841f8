"""Pure check of a challenge reply, in the fixed order of the trust rules; the first failed check is the reason.

A negative report acts even when it is unsigned, because the worst case is that a provider hurts itself. A positive
report counts only when it is signed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from protocol.attestation import same_key
from protocol.canonical import challenge_bytes, status_bytes, status_bytes_v2
from protocol.messages.from_provider import AttestationResponse
from protocol.p256 import verify_p256

ChallengeCode = Literal[
    "ok",
    "timeout",
    "nonce_mismatch",
    "public_key_mismatch",
    "empty_signature",
    "signature_invalid",
    "status_signature_missing",
    "status_signature_invalid",
    "sip_missing",
    "sip_disabled",
    "secure_boot_missing",
    "secure_boot_disabled",
    "rdma_missing",
    "rdma_enabled",
    "hash_drift",
    "model_hash_mismatch",
    "metallib_mismatch",
]

METALLIB_NAME: Final = "mlx_metallib"


@dataclass(frozen=True, slots=True)
class ChallengePolicy:
    """Settings of the check: whether a missing status signature fails, and whether enabled RDMA is denied."""

    require_status_signature: bool = True
    rdma: Literal["record", "deny"] = "record"


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the coordinator knows about one connection before its challenge.

    `signing_key` is the 65-byte key S of the registration, None in open mode. `public_key` is the registered K text.
    `dev` waives SIP and Secure Boot. `known_binary_hashes` is None when no binary policy is enforced.
    `catalog_hashes` maps each advertised model of the catalogue to its expected weight hash (never empty texts).
    """

    nonce: str
    timestamp: str
    public_key: str
    signing_key: bytes | None
    dev: bool = False
    registered_binary_hash: str = ""
    known_binary_hashes: frozenset[str] | None = None
    catalog_hashes: Mapping[str, str] = field(default_factory=dict)
    metallib_hash: str = ""


@dataclass(frozen=True, slots=True)
class ChallengeVerdict:
    """Result of one challenge.

    `hard` failures make a provider unroutable at once, `untrust` ends its trust for this connection; a transient
    failure (`timeout`) is neither. `posture_signed` says whether the positive reports count. `verified_models` reported
    the catalogue's hash under a signature; `fenced_models` reported another one without a signature.
    """

    ok: bool
    code: ChallengeCode
    hard: bool = False
    untrust: bool = False
    posture_signed: bool = False
    verified_models: tuple[str, ...] = ()
    fenced_models: tuple[str, ...] = ()


TIMED_OUT: Final = ChallengeVerdict(ok=False, code="timeout")


def check_reply(reply: AttestationResponse, expected: Expectation, policy: ChallengePolicy) -> ChallengeVerdict:
    """Check one reply up to the signed hashes; the runtime manifest and version floors come after it, elsewhere.

    Never raises for foreign input. A provider without a signing key (open mode) skips the signature steps, passes as
    alive, and none of its positive reports count.
    """
    if reply.nonce != expected.nonce:
        return _hard("nonce_mismatch")
    if expected.public_key and not (
        reply.public_key == expected.public_key or same_key(reply.public_key, expected.public_key)
    ):
        return _hard("public_key_mismatch")
    signed = False
    if expected.signing_key is not None:
        if not reply.signature:
            return _hard("empty_signature")
        data = challenge_bytes(expected.nonce, expected.timestamp)
        if not verify_p256(expected.signing_key, data, reply.signature):
            return _hard("signature_invalid")
        status = _status_signature(reply, expected, expected.signing_key)
        if status == "invalid":
            return _hard("status_signature_invalid")
        signed = status == "signed"
        if not signed and (failure := _negative_posture(reply, expected)):
            return failure
        if not signed and policy.require_status_signature:
            return _hard("status_signature_missing")
    return _posture(reply, expected, policy) or _hashes(reply, expected, signed=signed)


def _hard(code: ChallengeCode) -> ChallengeVerdict:
    return ChallengeVerdict(ok=False, code=code, hard=True)


def _untrust(code: ChallengeCode) -> ChallengeVerdict:
    return ChallengeVerdict(ok=False, code=code, hard=True, untrust=True)


def _status_signature(
    reply: AttestationResponse, expected: Expectation, signing_key: bytes
) -> Literal["signed", "missing", "invalid"]:
    """Verify the second form when it is there, else the first."""
    nonce, timestamp = expected.nonce, expected.timestamp
    try:
        if reply.darkbloom is not None and reply.darkbloom.status_signature_v2:
            data, signature = status_bytes_v2(nonce, timestamp, reply), reply.darkbloom.status_signature_v2
        elif reply.status_signature:
            data, signature = status_bytes(nonce, timestamp, reply), reply.status_signature
        else:
            return "missing"
    except ValueError:
        return "invalid"
    return "signed" if verify_p256(signing_key, data, signature) else "invalid"


def _negative_posture(reply: AttestationResponse, expected: Expectation) -> ChallengeVerdict | None:
    if expected.dev:
        return None
    if reply.sip_enabled is False:
        return _untrust("sip_disabled")
    return _untrust("secure_boot_disabled") if reply.secure_boot_enabled is False else None


def _posture(reply: AttestationResponse, expected: Expectation, policy: ChallengePolicy) -> ChallengeVerdict | None:
    """Check the three tri-state flags, each present and then true, in order."""
    if not expected.dev:
        if reply.sip_enabled is None:
            return _hard("sip_missing")
        if not reply.sip_enabled:
            return _untrust("sip_disabled")
        if reply.secure_boot_enabled is None:
            return _hard("secure_boot_missing")
        if not reply.secure_boot_enabled:
            return _untrust("secure_boot_disabled")
    if reply.rdma_disabled is None:
        return _hard("rdma_missing")
    return _untrust("rdma_enabled") if policy.rdma == "deny" and not reply.rdma_disabled else None


def _hashes(reply: AttestationResponse, expected: Expectation, *, signed: bool) -> ChallengeVerdict:
    known = expected.known_binary_hashes
    if known is not None and (
        not reply.binary_hash or reply.binary_hash not in known or reply.binary_hash != expected.registered_binary_hash
    ):
        return _untrust("hash_drift")
    verified, differing = _compare_models(reply, expected.catalog_hashes)
    if signed and differing:
        return _untrust("model_hash_mismatch")
    catalog = expected.catalog_hashes
    if signed and catalog and reply.active_model_hash and not reply.model_hashes:
        # Older providers report only the active model's hash, without its name: any advertised build may be the one.
        if reply.active_model_hash not in catalog.values():
            return _untrust("model_hash_mismatch")
        verified = tuple(model for model, known_hash in catalog.items() if known_hash == reply.active_model_hash)
    reported = reply.template_hashes.get(METALLIB_NAME, "")
    if expected.metallib_hash and reported != expected.metallib_hash:
        return _untrust("metallib_mismatch")
    return ChallengeVerdict(
        ok=True,
        code="ok",
        posture_signed=signed,
        verified_models=verified if signed else (),
        fenced_models=differing,
    )


def _compare_models(reply: AttestationResponse, catalog: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split the reported models of the catalogue into those with the expected hash and those with another."""
    verified: list[str] = []
    differing: list[str] = []
    for model, known_hash in catalog.items():
        reported = reply.model_hashes.get(model)
        if reported is not None:
            (verified if reported == known_hash else differing).append(model)
    return tuple(verified), tuple(differing)
