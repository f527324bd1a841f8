"""The trust state machine, event by event, and under random sequences of events."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from protocol.messages.from_provider import PrivacyCapabilities
from protocol.messages.to_provider import AttestationChallenge, Mismatch, TrustStatus
from server.ports import TrustState
from server.trust.effects import Disconnect, Publish, Send, SendChallenge, Supersede, WithdrawRequests
from server.trust.gate import PrivacyFacts
from server.trust.machine import Judgement, TrustMachine
from server.trust.policy import TrustPolicy

PASS = Judgement(outcome="pass", code="ok", signed=True)
FAIL = Judgement(outcome="fail", code="signature_invalid")
CAPABLE = PrivacyFacts(
    has_key=True,
    backend="mlx-swift",
    encrypted_chunks=True,
    capabilities=PrivacyCapabilities(
        text_backend_inprocess=True,
        text_proxy_disabled=True,
        anti_debug_enabled=True,
        core_dumps_disabled=True,
        env_scrubbed=True,
    ),
)


def machine(**state: Any) -> TrustMachine:
    fields: dict[str, Any] = {
        "level": "self_signed",
        "attested": True,
        "verified_at": 0.0,
        "runtime_verified": True,
        "runtime_manifest_checked": True,
    }
    return TrustMachine(TrustPolicy(), CAPABLE, TrustState(**(fields | state)), 0.0)


def challenged(made: TrustMachine, judgement: Judgement | None, now: float = 1.0) -> list[Any]:
    made.challenge(AttestationChallenge(nonce="n", timestamp="t"), now + 300)
    made.written("n", now)
    if judgement is None:
        return made.expire()
    assert made.take("n") is not None
    return made.judge(judgement, now)


def statuses(effects: list[Any]) -> list[tuple[str, str, str]]:
    return [
        (one.message.trust_level, one.message.status, one.message.reason.split(":")[0])
        for one in effects
        if isinstance(one, Send) and isinstance(one.message, TrustStatus)
    ]


def test_first_pass_grants_private_text_and_supersedes_once() -> None:
    made = machine()
    effects = challenged(made, PASS, 5.0)
    assert effects == [Supersede(), Publish(made.state)]
    assert made.state.private_text
    assert made.state.verified_at == 5.0
    assert Supersede() not in challenged(made, PASS)


def test_unsigned_posture_proves_life_but_never_private_text() -> None:
    made = machine()
    challenged(made, Judgement(outcome="pass", code="ok", signed=False))
    assert made.state.admitted
    assert not made.state.private_text


def test_hard_failure_makes_unroutable_at_once_and_a_pass_cures_it() -> None:
    made = machine()
    challenged(made, PASS)
    assert statuses(challenged(made, FAIL)) == []
    assert (made.state.verified_at, made.state.private_text, made.state.untrusted) == (None, False, None)
    challenged(made, PASS)
    assert made.state.private_text


def test_three_hard_failures_untrust_for_good() -> None:
    made = machine()
    challenged(made, FAIL)
    challenged(made, FAIL)
    effects = challenged(made, FAIL)
    assert statuses(effects) == [("none", "untrusted", "challenge_failed")]
    assert WithdrawRequests() in effects
    assert made.due == float("inf")
    assert made.judge(PASS, 9.0) == []
    assert made.state.untrusted == "hard"


def test_a_streak_with_one_hard_failure_is_hard() -> None:
    made = machine()
    challenged(made, None)
    challenged(made, FAIL)
    assert statuses(challenged(made, None)) == [("none", "untrusted", "challenge_failed")]


def test_three_timeouts_untrust_until_the_next_pass() -> None:
    made = machine()
    challenged(made, PASS)
    challenged(made, None)
    challenged(made, None)
    assert made.state.private_text
    assert statuses(challenged(made, None)) == [("self_signed", "untrusted", "challenge_timeout")]
    assert statuses(challenged(made, None)) == []
    assert statuses(challenged(made, PASS)) == [("self_signed", "online", "recovered")]
    assert made.state.epoch == 1


def test_a_hard_failure_during_a_transient_untrust_is_hard() -> None:
    made = machine()
    for _ in range(3):
        challenged(made, None)
    assert statuses(challenged(made, FAIL)) == [("none", "untrusted", "challenge_failed")]


def test_six_timeouts_disconnect_and_any_answer_breaks_the_row() -> None:
    made = machine()
    for _ in range(5):
        challenged(made, None)
    challenged(made, PASS)
    for _ in range(5):
        assert Disconnect(1008, "attestation unresponsive") not in challenged(made, None)
    assert challenged(made, None) == [Disconnect(1008, "attestation unresponsive")]


def test_immediate_untrust_needs_no_three_strikes() -> None:
    made = machine()
    effects = challenged(made, Judgement(outcome="untrust", code="sip_disabled"))
    assert statuses(effects) == [("none", "untrusted", "sip_disabled")]
    assert made.untrust("chunk_violation") == []


def test_runtime_mismatch_neither_fails_nor_passes() -> None:
    made = machine()
    challenged(made, PASS, 1.0)
    challenged(made, FAIL)
    challenged(made, FAIL)
    mismatch = (Mismatch(component="runtime", expected="a", got="b"),)
    challenged(made, Judgement(outcome="pass", code="ok", signed=True, mismatches=mismatch), 50.0)
    assert (made.state.verified_at, made.state.runtime_verified, made.state.untrusted) == (None, False, None)
    assert statuses(challenged(made, FAIL)) == [("none", "untrusted", "challenge_failed")]


def test_a_refused_token_is_told_with_every_status_and_costs_no_trust() -> None:
    made = machine()
    (told,) = made.registered("se_verified", (), "linked")
    assert told.message.account == "linked"
    before = made.state
    effects = made.token_refused()
    assert statuses(effects) == [("self_signed", "online", "se_verified")]
    assert effects[0].message.account == "token_refused"
    assert made.state == before
    lost = made.untrust("sip_disabled")
    assert lost[-1].message.account == "token_refused"
    assert statuses(made.token_refused()) == [("none", "untrusted", "sip_disabled")]


def test_a_nonce_is_used_once() -> None:
    made = machine()
    made.challenge(AttestationChallenge(nonce="n", timestamp="t"), 300)
    assert made.take("x") is None
    assert made.take("n") is not None
    assert made.take("n") is None


def test_the_answers_clock_starts_with_the_write() -> None:
    made = machine()
    (effect,) = made.challenge(AttestationChallenge(nonce="n", timestamp="t"), 300)
    assert isinstance(effect, SendChallenge)
    assert made.due == float("inf")
    made.written("other", 5.0)
    assert made.due == float("inf")
    made.written("n", 5.0)
    assert made.due == 35.0


def test_an_unwritten_challenge_is_tried_again_without_a_failure() -> None:
    made = machine()
    made.challenge(AttestationChallenge(nonce="n", timestamp="t"), 300)
    made.unwritten("n", 5.0)
    assert made.due == 35.0
    for _ in range(2):
        challenged(made, None)
    assert made.state.untrusted is None


def test_grants_are_dropped_after_a_loss_of_trust_and_for_development() -> None:
    made = machine()
    assert statuses(made.grant("hardware", 0, "mdm_verified")) == [("hardware", "online", "mdm_verified")]
    made.untrust("sip_disabled")
    assert made.grant("hardware", 0, "mdm_verified") == []
    assert made.grant("hardware", 1, "mdm_verified") == []
    assert machine(dev=True).grant("hardware", 0, "mdm_verified") == []
    assert machine(attested=False, level="none").grant("hardware", 0, "mdm_verified") == []


EVENTS = st.sampled_from(["pass", "fail", "timeout", "sip", "mismatch", "violation", "grant", "stale_grant"])


@given(st.lists(EVENTS, max_size=40))
def test_software_evidence_never_passes_self_signed_and_hard_is_final(events: list[str]) -> None:
    made = machine(dev=True)
    hard = False
    for now, event in enumerate(events):
        epoch = made.state.epoch
        if event == "grant":
            made.grant("hardware", epoch, "mdm_verified")
        elif event == "stale_grant":
            made.grant("hardware", epoch - 1, "mdm_verified")
        elif event == "violation":
            made.untrust("chunk_violation")
        elif not hard:
            challenged(
                made,
                {
                    "pass": PASS,
                    "fail": FAIL,
                    "timeout": None,
                    "sip": Judgement(outcome="untrust", code="sip_disabled"),
                    "mismatch": Judgement(
                        outcome="pass", code="ok", mismatches=(Mismatch(component="python", expected="a", got="b"),)
                    ),
                }[event],
                float(now),
            )
        assert made.state.level in ("none", "self_signed")
        assert not (hard and made.state.untrusted != "hard")
        hard = made.state.untrusted == "hard"
        if made.state.private_text:
            assert made.state.challenge_verified_sip
            assert not hard
        assert made.state.epoch >= epoch
