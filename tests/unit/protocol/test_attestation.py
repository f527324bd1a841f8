"""The registration blob: verification order, codes, vectors."""

import hashlib
import json
from base64 import b64decode, b64encode
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.attestation import BLOB_TEXTS, AttestationFacts, BlobVerdict, same_key, verify_blob
from protocol.identity import SoftwareSigner, build_attestation, sign_text
from protocol.messages.wire import NO_RAW
from protocol.rfc3339 import parse_rfc3339

K = "MTBfFBu4n/HeSu2fzXtNOgWpmBuOHzfJfk9cHFT28jI="
S65 = "BG3jhmmXK6tvIWQHHxqkirpoluCgb+YM+7sHrxjDyD3Hc458qYDWW55h+B0KYF3becWo3nZ/qgmsMj5yI3UFuWo="
S64 = "beOGaZcrq28hZAcfGqSKumiW4KBv5gz7uwevGMPIPcdzjnypgNZbnmH4HQpgXdt5xajedn+qCawyPnIjdQW5ag=="
SCALAR = 0x8513E104694F889C5C864E12F5FF3D96D902C948E222015B24991B16A40FB6FF
SIGNER = SoftwareSigner.from_scalar(SCALAR)
NOW = parse_rfc3339("2026-07-15T12:00:30Z")

BLOB_A = (
    '{"authenticatedRootEnabled":true,"binaryHash":"881c19336066b7e5ee6013c9fd2a94f8612fd4749d30b1bf5b692958a0d9d32d",'
    f'"chipName":"Apple M4 Max","encryptionPublicKey":"{K}","hardwareModel":"Mac16,5","osVersion":"15.5.0",'
    f'"publicKey":"{S65}","rdmaDisabled":true,"secureBootEnabled":true,"secureEnclaveAvailable":true,'
    '"serialNumber":"TEST0SERIAL1","sipEnabled":true,"timestamp":"2026-07-15T12:00:00Z"}'
).encode()
SIGNATURE_A = "MEYCIQCXVoCdL8VIfcHLybOMdHU+aCMuEmoVxc7aGIikJyj8VAIhAJ8rKeAstWT0eHhfSNVvAuyryKdFALSD3f5CSKRDhg01"
BLOB_B = BLOB_A.replace(b"/", b"\\/")
SIGNATURE_B = "MEUCIBIvgnRdPS//TBnVbmL2KTWy85e1kiyRNo2CiKkmUwIVAiEA/To417Lr90qwCow6Gu4IRHq4wosUTgYwDnw1lDLjMc0="


def envelope(blob: bytes, signature: str) -> msgspec.Raw:
    return msgspec.Raw(b'{"attestation":%b,"signature":"%b"}' % (blob, signature.encode()))


def signed(blob: bytes) -> msgspec.Raw:
    return envelope(blob, sign_text(SIGNER, blob))


def changed(**members: Any) -> bytes:
    """Blob A with members replaced; a member that is `...` is left out."""
    blob = json.loads(BLOB_A) | members
    return json.dumps({name: value for name, value in blob.items() if value is not ...}).encode()


def verify(raw: msgspec.Raw, **arguments: Any) -> BlobVerdict:
    defaults: dict[str, Any] = {"register_public_key": K, "now": NOW, "allow_dev": False}
    return verify_blob(raw, **(defaults | arguments))


def test_vectors_have_the_documented_bytes() -> None:
    assert (len(BLOB_A), len(BLOB_B)) == (516, 518)
    assert hashlib.sha256(BLOB_A).hexdigest() == "cd6ea327ea3998531bbbc94a927d19e7c87492311d258a2e43cab651a7c4fab4"
    assert hashlib.sha256(BLOB_B).hexdigest() == "e60efeef2de18005dd40fdfd5f545f63711f9e0268300d1f231d51927a3c44d2"
    assert b64encode(SIGNER.public65()).decode() == S65


@pytest.mark.parametrize(("blob", "signature"), [(BLOB_A, SIGNATURE_A), (BLOB_B, SIGNATURE_B)])
def test_signed_vector_is_valid_and_reads_the_same(blob: bytes, signature: str) -> None:
    verdict = verify(envelope(blob, signature))
    assert verdict.valid
    assert (verdict.signing_key, verdict.dev, verdict.stale) == (S65, False, False)
    assert verdict.blob is not None
    assert (verdict.blob.encryption_public_key, verdict.blob.serial_number) == (K, "TEST0SERIAL1")


@pytest.mark.parametrize("blob", [BLOB_B, BLOB_A.replace(b'"chipName":', b'"chipName": ')])
def test_other_bytes_of_the_same_meaning_break_the_signature(blob: bytes) -> None:
    verdict = verify(envelope(blob, SIGNATURE_A))
    assert verdict.code == "sig_mismatch"
    assert (verdict.blob, verdict.signing_key) == (None, "")


def test_white_space_around_the_blob_does_not_matter() -> None:
    raw = msgspec.Raw(b'{ "signature" : "%b" ,\n"attestation" :  %b }' % (SIGNATURE_A.encode(), BLOB_A))
    assert verify(raw).valid


@pytest.mark.parametrize("now", ["2026-07-15T12:02:01Z", "2026-07-15T11:57:59Z"])
def test_blob_outside_the_window_is_replayed(now: str) -> None:
    moment = parse_rfc3339(now)
    verdict = verify(envelope(BLOB_A, SIGNATURE_A), now=moment)
    assert (verdict.code, verdict.stale) == ("replayed_blob", True)
    lenient = verify(envelope(BLOB_A, SIGNATURE_A), now=moment, enforce_freshness=False)
    assert (lenient.code, lenient.stale) == ("ok", True)


@pytest.mark.parametrize("now", ["2026-07-15T12:02:00Z", "2026-07-15T11:58:00Z"])
def test_edge_of_the_window_is_fresh(now: str) -> None:
    assert verify(envelope(BLOB_A, SIGNATURE_A), now=parse_rfc3339(now)).valid


def test_64_byte_key_is_normalised() -> None:
    verdict = verify(signed(changed(publicKey=S64)))
    assert (verdict.code, verdict.signing_key) == ("ok", S65)


def test_no_attestation_is_open_mode() -> None:
    for raw in (NO_RAW, msgspec.Raw(b"null"), msgspec.Raw(b"")):
        verdict = verify(raw)
        assert (verdict.code, verdict.open_mode, verdict.valid) == ("absent", True, False)


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"timestamp": "yesterday"}, "bad_timestamp"),
        ({"timestamp": ...}, "bad_timestamp"),
        ({"timestamp": "2026-07-15T12:00:00.5Z"}, "ok"),
        ({"timestamp": "2026-07-15T14:00:00+02:00"}, "ok"),
        ({"publicKey": "%%%"}, "bad_key_b64"),
        ({"publicKey": ...}, "bad_key"),
        ({"publicKey": b64encode(b"\x02" + b64decode(S65)[1:33]).decode()}, "bad_key"),
        ({"publicKey": b64encode(b64decode(S65)[:-1] + b"\x00").decode()}, "bad_key"),
        ({"secureEnclaveAvailable": False}, "no_enclave"),
        ({"secureEnclaveAvailable": ...}, "no_enclave"),
        ({"sipEnabled": False}, "sip_off"),
        ({"secureBootEnabled": False}, "secure_boot_off"),
        ({"authenticatedRootEnabled": False, "rdmaDisabled": ...}, "ok"),
        ({"encryptionPublicKey": ...}, "enc_key_missing"),
        ({"encryptionPublicKey": "2J47rXlDfb7Z+ENBgwT0YP8Fx/6B/kqVd6gEy5Nn/2Y="}, "enc_key_mismatch"),
        ({"encryptionPublicKey": "%%%"}, "enc_key_mismatch"),
        ({"unknownKey": {"a": [1.5, None]}}, "ok"),
        ({"hypervisorActive": False}, "ok"),
        ({"serialNumber": None}, "ok"),
        ({"sipEnabled": "yes"}, "parse_error"),
        ({"chipName": 1}, "parse_error"),
    ],
)
def test_signed_blob_with_other_members(members: dict[str, Any], code: str) -> None:
    verdict = verify(signed(changed(**members)))
    assert verdict.code == code
    assert verdict.text == BLOB_TEXTS[verdict.code]


@pytest.mark.parametrize(
    ("signature", "code"),
    [
        ("AAAA", "bad_sig_der"),
        ("%%%", "bad_sig_b64"),
        (b64encode(bytes(range(1, 65))).decode(), "bad_sig_der"),
        ("", "bad_sig_der"),
        (SIGNATURE_B, "sig_mismatch"),
    ],
)
def test_signature_that_does_not_hold(signature: str, code: str) -> None:
    assert verify(envelope(BLOB_A, signature)).code == code


def test_first_failure_is_the_code_and_all_are_details() -> None:
    blob = changed(secureEnclaveAvailable=False, sipEnabled=False, secureBootEnabled=False, encryptionPublicKey=...)
    verdict = verify(signed(blob))
    assert verdict.code == "no_enclave"
    assert verdict.details == ("no_enclave", "sip_off", "secure_boot_off")
    assert verdict.signing_key == S65


def test_order_of_the_checks() -> None:
    blob = changed(timestamp="x", publicKey="%%%")
    assert verify(envelope(blob, "%%%")).code == "bad_timestamp"
    assert verify(envelope(changed(publicKey="%%%"), "%%%")).code == "bad_key_b64"
    assert verify(envelope(changed(sipEnabled=False), SIGNATURE_A)).code == "sig_mismatch"
    assert verify(signed(changed(sipEnabled=False)), now=NOW + 999).code == "sip_off"
    assert verify(signed(changed(encryptionPublicKey=...)), now=NOW + 999).code == "replayed_blob"


@pytest.mark.parametrize("register_key", ["2J47rXlDfb7Z+ENBgwT0YP8Fx/6B/kqVd6gEy5Nn/2Y=", "junk"])
def test_registered_key_must_be_the_signed_one(register_key: str) -> None:
    assert verify(envelope(BLOB_A, SIGNATURE_A), register_public_key=register_key).code == "enc_key_mismatch"


def test_without_a_registered_key_the_blob_needs_none() -> None:
    assert verify(signed(changed(encryptionPublicKey=...)), register_public_key="").valid


DUPLICATES = [
    BLOB_A.replace(b'"sipEnabled":true', b'"sipEnabled":false,"sipEnabled":true'),
    BLOB_A[:-1] + b',"x":{"a":1,"a":2}}',
    BLOB_A[:-1] + b',"x":[{"b":[{"a":1,"a":1}]}]}',
    BLOB_A[:-1] + rb',"sip\u0045nabled":true}',
]


@pytest.mark.parametrize("blob", DUPLICATES)
def test_duplicate_key_at_any_depth_is_refused(blob: bytes) -> None:
    assert verify(signed(blob)).code == "parse_error"


def test_duplicate_key_in_the_envelope_is_refused() -> None:
    for extra in (b'"signature":"x",', b'"attestation":{},', b'"x":1,"x":1,'):
        raw = msgspec.Raw(b'{%b"attestation":%b,"signature":"%b"}' % (extra, BLOB_A, SIGNATURE_A.encode()))
        assert verify(raw).code == "parse_error"


def nested(levels: int) -> bytes:
    inside = levels - 1
    return BLOB_A[:-1] + b',"x":' + b"[" * inside + b"]" * inside + b"}"


def test_depth_is_limited_to_eight() -> None:
    assert verify(signed(nested(8))).valid
    assert verify(signed(nested(9))).code == "parse_error"
    assert verify(signed(nested(2000))).code == "parse_error"


def test_size_is_limited_to_16_kib() -> None:
    padding = 16 * 1024 - len(BLOB_A) - len(b',"x":""')
    assert verify(signed(BLOB_A[:-1] + b',"x":"%b"}' % (b"x" * padding))).valid
    assert verify(signed(BLOB_A[:-1] + b',"x":"%b"}' % (b"x" * (padding + 1)))).code == "parse_error"
    assert verify(envelope(BLOB_A, "A" * 20_000)).code == "parse_error"


@pytest.mark.parametrize(
    "raw",
    [
        b"[]",
        b'"x"',
        b"{}",
        b'{"attestation":null,"signature":"x"}',
        b'{"attestation":[],"signature":"x"}',
        b'{"attestation":"{}","signature":"x"}',
        b'{"attestation":{},"signature":5}',
        b'{"Attestation":{},"signature":"x"}',
        b'{"attestation":{"chipName":"\xff"},"signature":"x"}',
        rb'{"attestation":{"chipName":"\ud800"},"signature":"x"}',
        b'{"attestation":{"x":NaN},"signature":"x"}',
        b'{"attestation":{"x":%b},"signature":"x"}' % (b"1" * 5000),
        b'{"attestation":{}',
        b'{"attestation":{"x":' + b"[" * 8000 + b"]" * 8000 + b'},"signature":"x"}',
    ],
)
def test_envelope_that_is_not_strict(raw: bytes) -> None:
    assert verify(msgspec.Raw(raw)).code == "parse_error"


DEV_POSTURE: dict[str, Any] = {
    "secureEnclaveAvailable": False,
    "sipEnabled": False,
    "secureBootEnabled": False,
    "platform": "linux-x86_64",
}


def test_development_blob_needs_both_the_mark_and_the_setting() -> None:
    marked, unmarked = signed(changed(**DEV_POSTURE, devAttestation=True)), signed(changed(**DEV_POSTURE))
    verdict = verify(marked, allow_dev=True)
    assert (verdict.code, verdict.dev, verdict.details) == ("ok", True, ())
    refused = verify(marked, allow_dev=False)
    assert (refused.code, refused.dev) == ("no_enclave", False)
    assert "sip_off" in refused.details
    assert verify(unmarked, allow_dev=True).code == "no_enclave"


def test_development_mark_outside_the_signature_means_nothing() -> None:
    blob = changed(**DEV_POSTURE)
    raw = msgspec.Raw(
        b'{"attestation":%b,"devAttestation":true,"signature":"%b"}' % (blob, sign_text(SIGNER, blob).encode())
    )
    assert verify(raw, allow_dev=True).code == "no_enclave"
    forged = changed(**DEV_POSTURE, devAttestation=True)
    assert verify(envelope(forged, sign_text(SIGNER, blob)), allow_dev=True).code == "sig_mismatch"


def test_development_waiver_covers_posture_only() -> None:
    blob = signed(changed(**DEV_POSTURE, devAttestation=True))
    assert verify(blob, allow_dev=True, now=NOW + 999).code == "replayed_blob"
    assert verify(blob, allow_dev=True, register_public_key="junk").code == "enc_key_mismatch"


def test_registration_nonce_replaces_the_clock() -> None:
    blob = signed(changed(registrationNonce="bm9uY2U="))
    assert verify(blob, registration_nonce="bm9uY2U=", now=NOW + 999).valid
    assert verify(blob, registration_nonce="b3RoZXI=").code == "nonce_mismatch"
    assert verify(blob).code == "nonce_mismatch"


def test_same_key_compares_bytes() -> None:
    assert same_key(K, K)
    assert not same_key(K, S65)
    assert not same_key("%", "%")


@given(st.integers(min_value=0, max_value=len(BLOB_A) - 1), st.integers(min_value=1, max_value=127))
def test_any_changed_byte_is_refused(at: int, mask: int) -> None:
    blob = bytearray(BLOB_A)
    blob[at] ^= mask
    assert not verify(envelope(bytes(blob), SIGNATURE_A)).valid


@given(st.binary(max_size=80))
def test_hostile_envelope_never_raises(data: bytes) -> None:
    assert not verify(msgspec.Raw(data)).valid


FACTS = AttestationFacts(
    chip_name="AMD EPYC <x>",
    hardware_model="Sörver/1",
    os_version="6.1.0",
    rdma_disabled=True,
    platform="linux-x86_64",
    dev_attestation=True,
)


def test_built_attestation_verifies_and_binds_the_encryption_key() -> None:
    raw = build_attestation(SIGNER, facts=FACTS, encryption_public_key=K, timestamp="2026-07-15T12:00:00Z")
    verdict = verify(raw, allow_dev=True)
    assert (verdict.code, verdict.dev, verdict.signing_key) == ("ok", True, S65)
    assert verdict.blob is not None
    assert (verdict.blob.hardware_model, verdict.blob.sip_enabled) == ("Sörver/1", False)
    assert list(json.loads(bytes(raw))["attestation"]) == sorted(json.loads(bytes(raw))["attestation"])
    assert b"serialNumber" not in bytes(raw)
    assert b'"sipEnabled":false' in bytes(raw)
