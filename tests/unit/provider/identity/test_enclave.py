"""The security chip's helper, played by a small program with a known key."""

import json
import sys
import textwrap
from base64 import b64encode

import pytest

from protocol.attestation import AttestationFacts, verify_blob
from protocol.canonical import status_bytes
from protocol.identity import Posture, SoftwareSigner, build_attestation, build_challenge_reply
from protocol.p256 import verify_p256
from provider.identity import enclave
from provider.identity.enclave import EnclaveSigner, EnclaveUnavailable
from provider.identity.open_signer import open_identity

SCALAR = int.from_bytes(bytes(range(1, 33)), "big")
PUBLIC = "UVw9brnjlrkE0/7Kf1T9zQzB6Ze/N13KUVrQpsO0A19FNr46UPMY+/mlR1kCoiFQK+8NV+CMU7LMClbxfZ+TVA=="

HELPER = """
import base64, json, sys
sys.path[:0] = json.loads({path!r})
from protocol.identity import SoftwareSigner
mode, state = {mode!r}, {state!r}
with open(state, "a") as file:
    file.write("x")
starts = len(open(state).read())
signer = SoftwareSigner.from_scalar({scalar} + (1 if mode == "changed" and starts > 1 else 0))
for number, line in enumerate(sys.stdin):
    asked = json.loads(line)
    if mode == "dies" and number == 1 and starts == 1:
        sys.exit(1)
    if mode == "silent" and asked["op"] == "sign":
        continue
    if mode == "refuses" and asked["op"] == "sign":
        answer = {{"error": "locked"}}
    elif mode == "garbage" and asked["op"] == "sign":
        print("garbage", flush=True)
        continue
    elif mode == "forged" and asked["op"] == "sign":
        answer = {{"signature": base64.b64encode(signer.sign(b"another text")).decode()}}
    elif asked["op"] == "info":
        text = "AAAA" if mode == "keyless" else base64.b64encode(signer.public65()[1:]).decode()
        answer = {{"public_key": text, "persistent": True, "later": 1}}
    else:
        answer = {{"signature": base64.b64encode(signer.sign(base64.b64decode(asked["data"]))).decode()}}
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def helper(tmp_path):
    signers = []

    def start(mode="good"):
        program = tmp_path / "helper.py"
        program.write_text(
            textwrap.dedent(HELPER).format(
                path=json.dumps(sys.path), mode=mode, state=str(tmp_path / "starts"), scalar=SCALAR
            )
        )
        signer = EnclaveSigner((sys.executable, "-I", str(program), "serve"))
        signers.append(signer)
        return signer

    yield start
    for signer in signers:
        signer.close()


def test_key_is_read_in_either_form_and_signatures_verify(helper):
    signer = helper()
    assert b64encode(signer.public65()[1:]).decode() == PUBLIC
    data = b"bm9uY2U=2026-07-01T00:00:00Z"
    assert verify_p256(signer.public65(), data, b64encode(signer.sign(data)).decode())
    assert "EnclaveSigner" in repr(signer)


def test_blob_and_challenge_answer_are_signed_by_the_chip(helper):
    signer = helper()
    facts = AttestationFacts(chip_name="Apple M4 Max", secure_enclave_available=True, sip_enabled=True)
    raw = build_attestation(signer, facts=facts, encryption_public_key="", timestamp="2026-07-01T00:00:00Z")
    verdict = verify_blob(raw, register_public_key="", now=1782864000.0, allow_dev=True)
    assert verdict.blob is not None
    assert verdict.details == ("secure_boot_off",)
    posture = Posture(True, True, True, binary_hash="ab" * 32, model_hashes={"b": "2", "a": "1"})
    reply = build_challenge_reply(signer, "bm9uY2U=", "2026-07-01T00:00:00Z", posture, "")
    canonical = status_bytes("bm9uY2U=", "2026-07-01T00:00:00Z", reply)
    assert canonical == (
        b'{"binary_hash":"%b","model_hashes":{"a":"1","b":"2"},"nonce":"bm9uY2U=","rdma_disabled":true,'
        b'"secure_boot_enabled":true,"sip_enabled":true,"timestamp":"2026-07-01T00:00:00Z"}' % (b"ab" * 32)
    )
    assert verify_p256(signer.public65(), canonical, reply.status_signature)


def test_known_signature_of_the_known_key_verifies():
    signature = "MEQCIAnLc17yPNvcrKjgCeF+zSYMWOD9CBXKdwyCnnvQh+6xAiALanpKArcPhtF8aZNozxwhBoHS9GzJrwJtjG52KG/N5g=="
    public = SoftwareSigner.from_scalar(SCALAR).public65()
    assert b64encode(public[1:]).decode() == PUBLIC
    assert verify_p256(public, b"bm9uY2U=2026-07-01T00:00:00Z", signature)


def test_helper_that_died_is_started_again(helper):
    signer = helper("dies")
    assert verify_p256(signer.public65(), b"x", b64encode(signer.sign(b"x")).decode())


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        ("refuses", "refused"),
        ("garbage", "failed"),
        ("forged", "does not verify"),
    ],
)
def test_bad_answers_are_refused(helper, mode, why):
    signer = helper(mode)
    with pytest.raises(EnclaveUnavailable, match=why):
        signer.sign(b"x")


def test_helper_with_another_key_after_its_restart_is_refused(helper):
    signer = helper("changed")
    signer.close()
    with pytest.raises(EnclaveUnavailable, match="another key"):
        signer.sign(b"x")


def test_helper_without_a_key_and_missing_helper(helper, tmp_path):
    with pytest.raises(EnclaveUnavailable, match="names no P-256 key"):
        helper("keyless")
    with pytest.raises(EnclaveUnavailable, match="cannot be started"):
        EnclaveSigner.open(tmp_path / "none")


def test_helper_that_does_not_answer_in_time(helper, monkeypatch):
    signer = helper("silent")
    monkeypatch.setattr(enclave, "ANSWER_SECONDS", 0.02)
    with pytest.raises(EnclaveUnavailable, match=r"failed \(ValueError\)"):
        signer.sign(b"x")


def test_machine_without_helper_has_a_software_key(tmp_path):
    identity = open_identity(tmp_path / "home", platform="linux")
    assert identity.is_software
    assert (tmp_path / "home" / "identity.key").stat().st_mode & 0o777 == 0o600
    again = open_identity(tmp_path / "home", platform="linux")
    assert again.signer.public65() == identity.signer.public65()


def test_named_helper_that_does_not_work_is_no_reason_for_a_software_key(tmp_path):
    with pytest.raises(EnclaveUnavailable):
        open_identity(tmp_path, helper=tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_found_helper_without_a_chip_falls_back_to_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr("provider.identity.open_signer.find_helper", lambda: tmp_path / "none")
    assert open_identity(tmp_path / "home", platform="darwin").is_software
