"""Judging registrations and answers: blobs, catalogue hashes, manifest, devices."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from protocol.attestation import AttestationFacts
from protocol.identity import Posture, SoftwareSigner, build_attestation, build_challenge_reply
from protocol.messages.from_provider import ModelEntry, PrivacyCapabilities, Register
from protocol.messages.to_provider import AttestationChallenge, RuntimeStatus, TrustStatus
from protocol.messages.wire import NO_RAW
from protocol.rfc3339 import format_rfc3339
from protocol.sealing import ProviderKeyPair
from server.ports import TrustState
from server.trust import RuntimeManifest, SessionTrust, TrustDesk, TrustPolicy
from server.trust.devices import DeviceTable
from server.trust.runtime import compare_runtime

WALL = 1_784_116_800.0
HASH_A, HASH_B = "aa" * 32, "bb" * 32
FULL = PrivacyCapabilities(
    text_backend_inprocess=True,
    text_proxy_disabled=True,
    python_runtime_locked=True,
    dangerous_modules_blocked=True,
    anti_debug_enabled=True,
    core_dumps_disabled=True,
    env_scrubbed=True,
)


class Port:
    """A connection that remembers what trust asked of it."""

    session_id = "s"

    def __init__(self) -> None:
        self.may_stay = True
        self.state: TrustState | None = None
        self.sent: list[Any] = []
        self.challenges: list[AttestationChallenge] = []
        self.events: list[str] = []
        self.closed: int | None = None

    def trust_changed(self, state: TrustState) -> None:
        self.state = state

    def send(self, message: Any) -> None:
        self.sent.append(message)

    def send_challenge(self, message: AttestationChallenge) -> None:
        self.challenges.append(message)

    def withdraw_requests(self) -> None:
        self.events.append("withdraw")

    def proved(self, device_id: str) -> bool:
        self.events.append("proved")
        return self.may_stay

    def replaced(self) -> None:
        self.events.append("replaced")

    def close(self, code: int, reason: str) -> None:
        self.closed = code

    def count(self, event: str) -> None:
        self.events.append(event)


class Machine:
    """A machine with true keys, and its session's trust at a desk."""

    def __init__(self, desk: TrustDesk, signer: SoftwareSigner | None = None, **register: Any) -> None:
        self.signer = signer or SoftwareSigner.generate()
        self.keys = ProviderKeyPair.generate()
        self.port = Port()
        facts = AttestationFacts(
            sip_enabled=True,
            secure_boot_enabled=True,
            secure_enclave_available=True,
            rdma_disabled=True,
            registration_nonce=register.pop("blob_nonce", ""),
        )
        fields: dict[str, Any] = {
            "backend": "mlx-python",
            "models": (ModelEntry(id="m"), ModelEntry(id="n")),
            "public_key": self.keys.public_text,
            "encrypted_response_chunks": True,
            "privacy_capabilities": FULL,
            "attestation": build_attestation(
                self.signer,
                facts=facts,
                encryption_public_key=self.keys.public_text,
                timestamp=format_rfc3339(register.pop("signed_at", WALL)),
            ),
        }
        message = Register(**(fields | register))
        key = self.keys.public if message.public_key == self.keys.public_text else b""
        self.trust = SessionTrust(desk, self.port, message, key, "nonce", 0.0)
        self.trust.begin()

    def answer(self, now: float = 1.0, *, posture: dict[str, Any] | None = None, **changes: Any) -> TrustState:
        """Take a challenge when one is due, and answer it."""
        self.trust.tick(now)
        challenge = self.port.challenges[-1]
        self.trust.written(challenge.nonce, now)
        fields: dict[str, Any] = {"sip_enabled": True, "secure_boot_enabled": True, "rdma_disabled": True}
        reply = build_challenge_reply(
            self.signer,
            challenge.nonce,
            challenge.timestamp,
            Posture(**(fields | (posture or {}))),
            self.keys.public_text,
        )
        self.trust.answered(msgspec.structs.replace(reply, **changes), now)
        return self.trust.state


def desk(**fields: Any) -> TrustDesk:
    policy = TrustPolicy(**fields.pop("policy", {}))
    return TrustDesk(policy=policy, wall_clock=lambda: WALL, spread=lambda: 0.0, **fields)


def test_valid_blob_is_self_signed_and_routable_after_the_challenge() -> None:
    made = Machine(desk())
    assert (made.trust.state.level, made.trust.state.private_text) == ("self_signed", False)
    assert made.answer().private_text
    assert [message.trust_level for message in made.port.sent if isinstance(message, TrustStatus)] == ["self_signed"]


def test_device_id_is_the_signing_key() -> None:
    made = Machine(desk())
    assert made.trust.device_id == "sekey:" + made.signer.public65().hex()
    assert Machine(desk(), attestation=NO_RAW).trust.device_id is None


@pytest.mark.parametrize(("signed_at", "verdict"), [(-120, "ok"), (-121, "replayed_blob"), (121, "replayed_blob")])
def test_age_of_the_blob(signed_at: float, verdict: str) -> None:
    made = Machine(desk(), signed_at=WALL + signed_at)
    assert made.trust.verdict == verdict
    assert made.trust.device_id is None or verdict == "ok"


def test_age_is_not_enforced_for_the_reference_backend() -> None:
    assert Machine(desk(), signed_at=WALL - 1_000, backend="mlx-swift").trust.verdict == "ok"


def test_registration_nonce_in_the_blob_must_be_ours_and_replaces_its_age() -> None:
    assert Machine(desk(), blob_nonce="nonce", signed_at=WALL - 1_000).trust.verdict == "ok"
    assert Machine(desk(), blob_nonce="other").trust.verdict == "nonce_mismatch"


def test_invalid_blob_never_gets_private_text_even_when_it_passes_challenges() -> None:
    made = Machine(desk(policy={"min_trust": "none"}), signed_at=WALL - 1_000)
    assert not made.answer().private_text


def test_cleared_key_never_gets_private_text() -> None:
    made = Machine(desk(), public_key="AAAA")
    assert not made.answer(public_key="").private_text


@pytest.mark.parametrize(
    ("changes", "untrusted", "fresh"),
    [
        ({}, None, True),
        ({"signature": ""}, None, False),
        ({"status_signature": "", "darkbloom": None}, None, False),
        ({"public_key": "x"}, None, False),
        ({"rdma_disabled": None}, None, False),
        ({"sip_enabled": False}, None, False),
    ],
)
def test_answers_that_were_changed_on_the_way_fail(changes: Any, untrusted: str | None, fresh: bool) -> None:
    state = Machine(desk()).answer(**changes)
    assert (state.untrusted, state.verified_at is not None) == (untrusted, fresh)


@pytest.mark.parametrize(
    ("posture", "untrusted"),
    [
        ({"sip_enabled": False}, "hard"),
        ({"secure_boot_enabled": False}, "hard"),
        ({"sip_enabled": None}, None),
        ({"secure_boot_enabled": None}, None),
        ({"rdma_disabled": None}, None),
    ],
)
def test_signed_bad_posture(posture: dict[str, Any], untrusted: str | None) -> None:
    state = Machine(desk()).answer(posture=posture)
    assert (state.untrusted, state.verified_at) == (untrusted, None)


def test_unsigned_negative_report_acts() -> None:
    made = Machine(desk())
    made.answer(posture={"sip_enabled": False}, status_signature="", darkbloom=None)
    assert made.trust.state.untrusted == "hard"
    assert "withdraw" in made.port.events


def test_rdma_is_recorded_or_denied_by_policy() -> None:
    assert Machine(desk()).answer(posture={"rdma_disabled": False}).untrusted is None
    assert Machine(desk(policy={"rdma": "deny"})).answer(posture={"rdma_disabled": False}).untrusted == "hard"


def test_catalogue_hash_is_confirmed_by_the_signed_status() -> None:
    at = desk(catalog_hash={"m": HASH_A, "n": ""}.get)
    made = Machine(at)
    assert made.answer().model_hashes == {}
    assert made.answer(400, posture={"model_hashes": {"m": HASH_A, "n": HASH_B}}).model_hashes == {"m": HASH_A}


def test_signed_foreign_hash_of_a_catalogue_model_untrusts() -> None:
    made = Machine(desk(catalog_hash={"m": HASH_A, "n": ""}.get))
    assert made.answer(posture={"model_hashes": {"m": HASH_B}}).untrusted == "hard"
    assert made.port.sent[-1].reason.startswith("model_hash_mismatch: ")


def test_a_new_inventory_is_compared_from_the_next_challenge_on() -> None:
    made = Machine(desk(catalog_hash=lambda model: HASH_A if model == "later" else ""))
    made.trust.advertised([ModelEntry(id="later")])
    assert made.answer(posture={"model_hashes": {"later": HASH_A}}).model_hashes == {"later": HASH_A}


def test_manifest_mismatch_is_told_at_registration_and_after_a_challenge() -> None:
    manifest = RuntimeManifest(python_hashes=frozenset({HASH_A}))
    made = Machine(desk(policy={"manifest": manifest}))
    assert not made.trust.state.runtime_verified
    assert not made.answer(posture={"python_hash": HASH_B}).runtime_verified
    assert [type(message) for message in made.port.sent] == [TrustStatus, RuntimeStatus, RuntimeStatus]
    assert made.answer(400, posture={"python_hash": HASH_A}).runtime_verified


def test_interval_is_spread_by_a_tenth() -> None:
    for spread, seconds in ((-1.0, 270.0), (0.0, 300.0), (1.0, 330.0)):
        at = TrustDesk(policy=TrustPolicy(), spread=lambda value=spread: value)
        assert at.interval() == pytest.approx(seconds)


def test_challenges_have_fresh_nonces_of_32_bytes() -> None:
    at = desk()
    nonces = {at.new_challenge().nonce for _ in range(100)}
    assert len(nonces) == 100
    assert {len(nonce) for nonce in nonces} == {44}
    assert at.new_challenge().timestamp == "2026-07-15T12:00:00Z"


def test_unknown_nonces_of_any_length_are_ignored() -> None:
    made = Machine(desk())
    made.answer(nonce="x")
    made.answer(nonce="")
    assert made.port.events == ["challenge_unknown_nonce", "challenge_unknown_nonce"]
    assert made.trust.state.untrusted is None


def test_device_table_keeps_order_and_forgets() -> None:
    table: DeviceTable[str] = DeviceTable()
    for name in ("a", "b", "c"):
        table.join(b"S", name)
    assert table.older(b"S", "c") == ["a", "b"]
    assert table.older(b"S", "a") == []
    assert table.older(b"T", "a") == []
    table.leave(b"S", "a")
    table.leave(b"S", "a")
    assert table.older(b"S", "c") == ["b"]
    for name in ("b", "c"):
        table.leave(b"S", name)
    assert table._sessions == {}


@pytest.mark.parametrize(
    ("manifest", "components"),
    [
        (RuntimeManifest(), []),
        (RuntimeManifest(python_hashes=frozenset({HASH_A, HASH_B})), []),
        (RuntimeManifest(python_hashes=frozenset({HASH_B})), [("python", HASH_B, HASH_A)]),
        (RuntimeManifest(runtime_hashes=frozenset({HASH_B})), [("runtime", HASH_B, "(missing)")]),
        (
            RuntimeManifest(template_hashes={"mlx_metallib": frozenset({HASH_A}), "t": frozenset({HASH_A})}),
            [("template:t", HASH_A, HASH_B)],
        ),
    ],
)
def test_manifest_compares_only_what_it_knows(manifest: RuntimeManifest, components: list[Any]) -> None:
    report = Register(python_hash=HASH_A.upper(), template_hashes={"t": HASH_B, "mlx_metallib": HASH_A, "own": HASH_B})
    found = [(one.component, one.expected, one.got) for one in compare_runtime(manifest, report)]
    assert [(name, expected, got.lower()) for name, expected, got in found] == components


def test_a_device_that_may_not_stay_disturbs_no_older_session() -> None:
    shared = desk()
    signer = SoftwareSigner.generate()
    old = Machine(shared, signer)
    old.answer()
    new = Machine(shared, signer)
    new.port.may_stay = False
    new.answer()
    assert (old.port.events, new.port.events) == (["challenge_passed", "proved"], ["challenge_passed", "proved"])


def test_only_the_first_pass_of_a_device_counts_as_its_registration() -> None:
    made = Machine(desk())
    for now in (1.0, 301.0):
        made.answer(now)
    assert made.port.events.count("proved") == 1


def test_a_hastened_challenge_goes_out_at_once_or_after_the_answer_that_is_awaited() -> None:
    made = Machine(desk())
    made.answer(1.0)
    made.trust.hasten(2.0)
    assert made.trust.due == 2.0
    made.trust.tick(2.0)
    assert len(made.port.challenges) == 2
    made.trust.hasten(2.5)
    made.trust.tick(2.6)
    assert len(made.port.challenges) == 2
    made.answer(3.0)
    assert made.trust.due == 2.5
    made.answer(3.5)
    assert len(made.port.challenges) == 3
    assert made.trust.due > 300
