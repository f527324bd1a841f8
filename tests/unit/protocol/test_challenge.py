"""Challenge replies: the fixed order of checks, posture rules, vectors."""

import hashlib
from typing import Any

import msgspec
import pytest

from protocol.canonical import status_bytes
from protocol.challenge import METALLIB_NAME, ChallengePolicy, ChallengeVerdict, Expectation, check_reply
from protocol.codec import decode_from_provider, encode
from protocol.identity import Posture, SoftwareSigner, build_challenge_reply, sign_text
from protocol.messages.from_provider import AttestationExtension, AttestationResponse
from protocol.p256 import parse_p256_public, verify_p256

NONCE = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
TIMESTAMP = "2026-07-15T12:05:00Z"
K = "MTBfFBu4n/HeSu2fzXtNOgWpmBuOHzfJfk9cHFT28jI="
OTHER_K = "2J47rXlDfb7Z+ENBgwT0YP8Fx/6B/kqVd6gEy5Nn/2Y="
SIGNER = SoftwareSigner.from_scalar(0x8513E104694F889C5C864E12F5FF3D96D902C948E222015B24991B16A40FB6FF)
A_HASH = "ca0df2c95aa144c1d0ff2ff3c8f967fdc1de9ef0c4120b3726416701b519d619"
B_HASH = "29c1b289e7522195b362e44f54e05470b69ad20540ab60a18a05e5bf6951f13d"
BINARY = "881c19336066b7e5ee6013c9fd2a94f8612fd4749d30b1bf5b692958a0d9d32d"
METALLIB = "602fa84a9264eb2981c1b3dca7d8f03d01314f86eb37f706eb49aab6f719c092"

S1 = AttestationResponse(
    nonce=NONCE,
    signature="MEQCIDkVlf0WrjAKWD12CAs6VA2KPLiPfM+yBNdvOTaluHtJAiAgMsdlxHFNP/9zfRRqws3TlJNcZpgSE27OzPOTEP7Plw==",
    status_signature=(
        "MEUCIQCshhBcX6B1sK05UPmUuq7L/cw0EoJwYTuYstByAqP3aQIgSHJi1R20eRg3gWULVLu16+oAoeVt5yaLFy3lnXQQVzg="
    ),
    public_key=K,
    sip_enabled=True,
    secure_boot_enabled=True,
    rdma_disabled=True,
    binary_hash=BINARY,
    active_model_hash=A_HASH,
    template_hashes={METALLIB_NAME: METALLIB},
    model_hashes={"A-model": A_HASH, "b-model": B_HASH},
)
S2 = msgspec.structs.replace(
    S1,
    hypervisor_active=False,
    status_signature=(
        "MEUCIQCTA8sydiGuZ9d+hogWdD5/iCmjRpllcB/Qps8v7irsDwIgFhBIEW+MI2yZFiJmRXUs+UfMlECdIxGAfdmMyRkpr9U="
    ),
)
EXPECTED = Expectation(
    nonce=NONCE,
    timestamp=TIMESTAMP,
    public_key=K,
    signing_key=SIGNER.public65(),
    catalog_hashes={"A-model": A_HASH, "b-model": B_HASH},
)
STRICT = ChallengePolicy()
LENIENT = ChallengePolicy(require_status_signature=False)


def resigned(**members: Any) -> AttestationResponse:
    """S1 with members replaced and a correct status signature over the result."""
    reply = msgspec.structs.replace(S1, **members)
    return msgspec.structs.replace(reply, status_signature=sign_text(SIGNER, status_bytes(NONCE, TIMESTAMP, reply)))


def check(reply: AttestationResponse, policy: ChallengePolicy = STRICT, **expected: Any) -> ChallengeVerdict:
    import dataclasses

    return check_reply(reply, dataclasses.replace(EXPECTED, **expected), policy)


def failed(reply: AttestationResponse, policy: ChallengePolicy = STRICT, **expected: Any) -> tuple[str, bool]:
    verdict = check(reply, policy, **expected)
    assert not verdict.ok
    assert verdict.hard
    return verdict.code, verdict.untrust


def test_vectors_have_the_documented_bytes() -> None:
    data, legacy = status_bytes(NONCE, TIMESTAMP, S1), status_bytes(NONCE, TIMESTAMP, S2)
    assert (len(data), len(legacy)) == (599, 625)
    assert hashlib.sha256(data).hexdigest() == "96148b8cdd544fa8bac732e7783d6fe767f7becd5ba8e12f7cbe6be6f678c48c"
    assert hashlib.sha256(legacy).hexdigest() == "b3d91957e25c271195b7b018949a7a1870ce6cda4ff1c54f345fe89156d07a83"


@pytest.mark.parametrize("reply", [S1, S2])
def test_signed_vector_passes(reply: AttestationResponse) -> None:
    verdict = check(reply)
    assert verdict == ChallengeVerdict(ok=True, code="ok", posture_signed=True, verified_models=("A-model", "b-model"))


def test_vector_passes_after_a_trip_over_the_wire() -> None:
    read = decode_from_provider(encode(S2))
    assert isinstance(read, AttestationResponse)
    assert check(read).ok


def test_dropping_the_legacy_flag_breaks_the_legacy_signature() -> None:
    assert failed(msgspec.structs.replace(S2, hypervisor_active=None)) == ("status_signature_invalid", False)


def test_wire_vectors_of_the_second_key() -> None:
    key = parse_p256_public("BFFcPW6545a5BNP+yn9U/c0MwemXvzddylFa0KbDtANfRTa+OlDzGPv5pUdZAqIhUCvvDVfgjFOyzApW8X2fk1Q=")
    moment = "2026-07-15T12:00:00Z"
    assert verify_p256(
        key,
        (NONCE + moment).encode(),
        "MEYCIQDCGvA6UHwVXxj+e2RoHgrOHYxs73nmu5v0NLFdYjEqIAIhAMC4HgsKQqJxbHjKd/bCFw+IRlwjzm+fmk7MLf2hyKiY",
    )
    reply = AttestationResponse(
        binary_hash="ab" * 32,
        model_hashes={"m-b": "22" * 32, "m-a": "11" * 32},
        rdma_disabled=True,
        secure_boot_enabled=True,
        sip_enabled=True,
        template_hashes={"mlx.metallib": "33" * 32},
    )
    current = status_bytes(NONCE, moment, reply)
    legacy = status_bytes(NONCE, moment, msgspec.structs.replace(reply, hypervisor_active=False))
    assert hashlib.sha256(current).hexdigest() == "a4ada285b9f5905bcbff5d3e5c68a28de6a60077987746d94f07e229f5bfb727"
    assert hashlib.sha256(legacy).hexdigest() == "85b9fd6c7f74a2fa78ddd0f366c16d33f04207a7c4a50254d9356954bd030f92"
    for data, signature in (
        (
            current,
            "MEYCIQCOSBSYLx7aDZYj6lmQpD5ws6rpJfgMqELp9+TPHLKNBAIhALO/UbxfISleA/xqcIrdDvalZVtIZsPzxTON5dCMqvAE",
        ),
        (
            legacy,
            "MEYCIQC/8Sy5LKwKJJ41QflX4mPQ3aQaZ/8qiS0KHFtzE2T26QIhAOMv0fYAqXINjCNCOBtuXO7WgOTCmFvwR/ioY0i25S7q",
        ),
    ):
        assert verify_p256(key, data, signature)
    assert not verify_p256(
        key, current, "MEYCIQC/8Sy5LKwKJJ41QflX4mPQ3aQaZ/8qiS0KHFtzE2T26QIhAOMv0fYAqXINjCNCOBtuXO7WgOTCmFvwR/ioY0i25S7q"
    )


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (msgspec.structs.replace(S1, nonce="x"), "nonce_mismatch"),
        (msgspec.structs.replace(S1, nonce=""), "nonce_mismatch"),
        (msgspec.structs.replace(S1, public_key=OTHER_K), "public_key_mismatch"),
        (msgspec.structs.replace(S1, public_key=""), "public_key_mismatch"),
        (msgspec.structs.replace(S1, signature=""), "empty_signature"),
        (msgspec.structs.replace(S1, signature="AAAA"), "signature_invalid"),
        (msgspec.structs.replace(S1, signature=S1.status_signature), "signature_invalid"),
        (msgspec.structs.replace(S1, status_signature=""), "status_signature_missing"),
        (msgspec.structs.replace(S1, status_signature=S1.signature), "status_signature_invalid"),
        (msgspec.structs.replace(S1, model_hashes={"A-model": B_HASH}), "status_signature_invalid"),
        (msgspec.structs.replace(S1, sip_enabled=None), "status_signature_invalid"),
        (resigned(sip_enabled=None), "sip_missing"),
        (resigned(secure_boot_enabled=None), "secure_boot_missing"),
        (resigned(rdma_disabled=None), "rdma_missing"),
    ],
)
def test_hard_failure(reply: AttestationResponse, code: str) -> None:
    assert failed(reply) == (code, False)


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (resigned(sip_enabled=False), "sip_disabled"),
        (resigned(secure_boot_enabled=False), "secure_boot_disabled"),
        (resigned(sip_enabled=False, secure_boot_enabled=None), "sip_disabled"),
        (resigned(model_hashes={"A-model": B_HASH}), "model_hash_mismatch"),
        (resigned(model_hashes={}, active_model_hash="00" * 32), "model_hash_mismatch"),
    ],
)
def test_signed_negative_report_ends_trust(reply: AttestationResponse, code: str) -> None:
    assert failed(reply) == (code, True)


@pytest.mark.parametrize("policy", [STRICT, LENIENT])
@pytest.mark.parametrize(
    ("flag", "code"), [("sip_enabled", "sip_disabled"), ("secure_boot_enabled", "secure_boot_disabled")]
)
def test_unsigned_negative_report_acts_before_the_missing_signature(
    policy: ChallengePolicy, flag: str, code: str
) -> None:
    reply = msgspec.structs.replace(S1, status_signature="", **{flag: False})
    assert failed(reply, policy) == (code, True)


def test_unsigned_positive_reports_count_for_nothing() -> None:
    verdict = check(msgspec.structs.replace(S1, status_signature=""), LENIENT)
    assert (verdict.ok, verdict.posture_signed, verdict.verified_models) == (True, False, ())


def test_unsigned_report_of_another_hash_fences_the_model() -> None:
    reply = msgspec.structs.replace(S1, status_signature="", model_hashes={"A-model": B_HASH, "b-model": B_HASH})
    verdict = check(reply, LENIENT)
    assert (verdict.ok, verdict.fenced_models, verdict.verified_models) == (True, ("A-model",), ())


def test_wrong_status_signature_fails_even_when_none_is_required() -> None:
    assert failed(msgspec.structs.replace(S1, status_signature="AAAA"), LENIENT) == ("status_signature_invalid", False)


def test_key_is_compared_by_its_bytes_and_skipped_when_none_is_registered() -> None:
    assert check(msgspec.structs.replace(S1, public_key=OTHER_K), public_key="").ok


def test_signature_is_checked_against_the_registered_key_only() -> None:
    assert failed(S1, signing_key=SoftwareSigner.generate().public65()) == ("signature_invalid", False)


def test_case_insensitively_sorted_map_is_rejected() -> None:
    reply = resigned(model_hashes={"b": "1", "A": "2"})
    data = status_bytes(NONCE, TIMESTAMP, reply).replace(b'"A":"2","b":"1"', b'"b":"1","A":"2"')
    assert data != status_bytes(NONCE, TIMESTAMP, reply)
    wrong = msgspec.structs.replace(reply, status_signature=sign_text(SIGNER, data))
    assert failed(wrong) == ("status_signature_invalid", False)


def test_rdma_policy() -> None:
    reply = resigned(rdma_disabled=False)
    assert check(reply).ok
    assert failed(reply, ChallengePolicy(rdma="deny")) == ("rdma_enabled", True)


def test_open_mode_passes_as_alive_and_proves_nothing() -> None:
    reply = AttestationResponse(
        nonce=NONCE, public_key=K, sip_enabled=True, secure_boot_enabled=True, rdma_disabled=True,
        model_hashes={"A-model": A_HASH},
    )  # fmt: skip
    for signature in ("", "AAAA", S1.signature):
        verdict = check(msgspec.structs.replace(reply, signature=signature), signing_key=None)
        assert (verdict.ok, verdict.posture_signed, verdict.verified_models) == (True, False, ())


def test_open_mode_still_needs_its_flags() -> None:
    reply = AttestationResponse(nonce=NONCE, public_key=K)
    assert failed(reply, signing_key=None) == ("sip_missing", False)
    assert failed(msgspec.structs.replace(reply, sip_enabled=False), signing_key=None) == ("sip_disabled", True)


def test_development_profile_waives_sip_and_secure_boot_only() -> None:
    off = resigned(sip_enabled=False, secure_boot_enabled=False)
    assert failed(off) == ("sip_disabled", True)
    verdict = check(off, dev=True)
    assert (verdict.ok, verdict.posture_signed) == (True, True)
    assert check(resigned(sip_enabled=None, secure_boot_enabled=None), dev=True).ok
    assert failed(resigned(rdma_disabled=None), dev=True) == ("rdma_missing", False)
    assert failed(msgspec.structs.replace(off, status_signature=""), dev=True) == ("status_signature_missing", False)
    assert failed(msgspec.structs.replace(off, signature="AAAA"), dev=True) == ("signature_invalid", False)


@pytest.mark.parametrize(
    ("known", "registered", "reported", "holds"),
    [
        (None, "", "", True),
        (frozenset({BINARY}), BINARY, BINARY, True),
        (frozenset({BINARY}), BINARY, "", False),
        (frozenset({BINARY}), "00", BINARY, False),
        (frozenset({"00"}), BINARY, BINARY, False),
        (frozenset(), BINARY, BINARY, False),
    ],
)
def test_binary_policy(known: frozenset[str] | None, registered: str, reported: str, holds: bool) -> None:
    expected = {"known_binary_hashes": known, "registered_binary_hash": registered}
    reply = resigned(binary_hash=reported)
    if holds:
        assert check(reply, **expected).ok
    else:
        assert failed(reply, **expected) == ("hash_drift", True)


def test_gpu_library_must_stay_the_registered_one() -> None:
    assert check(S1, metallib_hash=METALLIB).ok
    assert failed(resigned(template_hashes={}), metallib_hash=METALLIB) == ("metallib_mismatch", True)
    assert failed(S1, metallib_hash="00" * 32) == ("metallib_mismatch", True)


def test_active_hash_may_be_any_advertised_model() -> None:
    verdict = check(resigned(model_hashes={}, active_model_hash=B_HASH))
    assert (verdict.ok, verdict.verified_models) == (True, ("b-model",))
    assert check(resigned(model_hashes={}, active_model_hash="00" * 32), catalog_hashes={}).ok


def test_models_outside_the_catalogue_are_not_judged() -> None:
    verdict = check(resigned(model_hashes={"other": "00" * 32}), catalog_hashes={"A-model": A_HASH})
    assert (verdict.ok, verdict.verified_models, verdict.fenced_models) == (True, (), ())


def test_order_of_the_checks() -> None:
    everything_wrong = AttestationResponse(nonce="x", public_key=OTHER_K)
    assert failed(everything_wrong)[0] == "nonce_mismatch"
    assert failed(msgspec.structs.replace(everything_wrong, nonce=NONCE))[0] == "public_key_mismatch"
    assert failed(msgspec.structs.replace(everything_wrong, nonce=NONCE, public_key=K))[0] == "empty_signature"
    posture = resigned(sip_enabled=None, secure_boot_enabled=None, rdma_disabled=None, binary_hash="")
    assert failed(posture, known_binary_hashes=frozenset())[0] == "sip_missing"


POSTURE = Posture(
    sip_enabled=True,
    secure_boot_enabled=True,
    rdma_disabled=True,
    binary_hash=BINARY,
    model_hashes={"A-model": A_HASH},
)


def test_built_reply_passes_with_both_forms() -> None:
    reply = build_challenge_reply(SIGNER, NONCE, TIMESTAMP, POSTURE, K)
    assert check(reply).verified_models == ("A-model",)
    assert check(msgspec.structs.replace(reply, status_signature="")).posture_signed
    assert check(msgspec.structs.replace(reply, darkbloom=None)).posture_signed


def test_second_form_is_verified_when_it_is_there() -> None:
    reply = build_challenge_reply(SIGNER, NONCE, TIMESTAMP, POSTURE, K)
    wrong = AttestationExtension(status_signature_v2=reply.status_signature, canonical_version=2)
    assert failed(msgspec.structs.replace(reply, darkbloom=wrong)) == ("status_signature_invalid", False)


def test_built_reply_without_a_signer_is_open_mode() -> None:
    reply = build_challenge_reply(None, NONCE, TIMESTAMP, POSTURE, K)
    assert (reply.signature, reply.status_signature, reply.darkbloom) == ("", "", None)
    assert check(reply, signing_key=None).ok


def test_built_reply_for_another_moment_fails() -> None:
    reply = build_challenge_reply(SIGNER, NONCE, "2026-07-15T12:05:01Z", POSTURE, K)
    assert failed(reply) == ("signature_invalid", False)
