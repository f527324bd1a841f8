"""What is signed at registration, as the coordinator verifies it."""

import hashlib
import json
import sys

import msgspec
import pytest

from protocol.attestation import verify_blob
from protocol.identity import SoftwareSigner, build_attestation
from protocol.rfc3339 import format_rfc3339
from protocol.sealing import ProviderKeyPair
from provider.identity import MachinePosture, attestation_facts, entry_file, file_hash, runtime_hash
from tests.testbed.fake_machine import FakeHost


def facts(**fields):
    return attestation_facts(
        hardware=FakeHost().hardware(),
        platform="linux-x86_64",
        os_version="Test OS 1",
        posture=MachinePosture(False, False, False, True),
        binary_hash="ab" * 32,
        is_software_key=True,
        **fields,
    )


def test_a_software_key_says_so():
    said = json.loads(msgspec.json.encode(facts(registration_nonce="n")))
    assert said["devAttestation"] is True
    assert said["secureEnclaveAvailable"] is False
    assert said["platform"] == "linux-x86_64"
    assert said["registrationNonce"] == "n"
    assert "serialNumber" not in said


@pytest.mark.parametrize(("allow_dev", "code"), [(True, "ok"), (False, "no_enclave")])
def test_the_blob_passes_in_development_only(allow_dev, code):
    key = ProviderKeyPair.generate().public_text
    signed = build_attestation(
        SoftwareSigner.generate(), facts=facts(), encryption_public_key=key, timestamp=format_rfc3339(1_700_000_000)
    )
    verdict = verify_blob(signed, register_public_key=key, now=1_700_000_000.0, allow_dev=allow_dev)
    assert verdict.code == code


def test_the_entry_file_is_what_was_started(monkeypatch, tmp_path):
    script = tmp_path / "darkbloom"
    script.write_bytes(b"#!python\n")
    monkeypatch.setattr(sys, "argv", [str(script)])
    assert entry_file() == script
    assert file_hash(script) == hashlib.sha256(b"#!python\n").hexdigest()
    monkeypatch.setattr(sys, "argv", ["-c"])
    assert entry_file().name == "__init__.py"
    assert file_hash(tmp_path / "missing") == ""


def test_the_runtime_hash_covers_files_and_skips_caches(tmp_path):
    root = tmp_path / "code"
    (root / "sub" / "__pycache__").mkdir(parents=True)
    (root / "b.py").write_bytes(b"B")
    (root / "sub" / "a.py").write_bytes(b"A")
    expected = hashlib.sha256(hashlib.sha256(b"B").digest() + hashlib.sha256(b"A").digest()).hexdigest()
    assert runtime_hash([root]) == expected
    (root / "sub" / "__pycache__" / "a.cpython.pyc").write_bytes(b"x")
    (root / "old.pyc").write_bytes(b"x")
    assert runtime_hash([root]) == expected
    (root / "b.py").write_bytes(b"changed")
    assert runtime_hash([root]) != expected
    (root / "gone").symlink_to(tmp_path / "nothing")
    assert runtime_hash([root]) == ""
