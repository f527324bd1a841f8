"""The routing gate and private-text eligibility."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from protocol.messages.from_provider import PrivacyCapabilities
from server.ports import TrustState
from server.trust import PrivacyFacts, TrustPolicy, is_fresh, is_proven, standing

POLICY = TrustPolicy(min_trust="hardware")
GOOD = TrustState(
    level="hardware",
    verified_at=1_000.0,
    attested=True,
    runtime_verified=True,
    runtime_manifest_checked=True,
    challenge_verified_sip=True,
    private_text=True,
    admitted=True,
)
ALL = PrivacyCapabilities(
    text_backend_inprocess=True,
    text_proxy_disabled=True,
    python_runtime_locked=True,
    dangerous_modules_blocked=True,
    sip_enabled=True,
    anti_debug_enabled=True,
    core_dumps_disabled=True,
    env_scrubbed=True,
)
NEEDED = ["text_backend_inprocess", "text_proxy_disabled", "anti_debug_enabled", "core_dumps_disabled", "env_scrubbed"]


def facts(**changes: Any) -> PrivacyFacts:
    fields = {"has_key": True, "backend": "mlx-python", "encrypted_chunks": True, "capabilities": ALL}
    return PrivacyFacts(**(fields | changes))


def reason_of(trust: TrustState, now: float = 1_000.0, **fields: Any) -> str | None:
    """The whole gate, as routing asks it."""
    against = standing(trust, fields.pop("min_trust", "hardware"), **fields)
    return against or (None if is_fresh(trust, now, max_age=960.0) else "challenge_stale")


def test_a_good_session_passes() -> None:
    assert reason_of(GOOD) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"untrusted": "hard"}, "untrusted"),
        ({"untrusted": "transient"}, "untrusted"),
        ({"level": "self_signed"}, "trust_floor"),
        ({"level": "platinum"}, "trust_floor"),
        ({"runtime_verified": False}, "runtime_unverified"),
        ({"private_text": False}, "private_text"),
        ({"verified_at": None}, "challenge_stale"),
        ({"admitted": False}, "challenge_stale"),
    ],
)
def test_each_reason_alone(changes: dict[str, Any], reason: str) -> None:
    assert reason_of(replace(GOOD, **changes)) == reason


def test_the_first_reason_in_the_fixed_order_wins() -> None:
    bad = replace(GOOD, untrusted="hard", level="none", runtime_verified=False, private_text=False, verified_at=None)
    outside: dict[str, Any] = {"private_only": True, "weights_verified": False}
    cures: dict[str, Any] = {
        "untrusted": lambda: {"untrusted": None},
        "private_only": lambda: outside.update(private_only=False),
        "trust_floor": lambda: {"level": "hardware"},
        "runtime_unverified": lambda: {"runtime_verified": True},
        "model_unverified": lambda: outside.update(weights_verified=True),
        "private_text": lambda: {"private_text": True},
        "challenge_stale": lambda: {"verified_at": 1_000.0},
    }
    for reason, cure in cures.items():
        assert reason_of(bad, **outside) == reason
        bad = replace(bad, **(cure() or {}))
    assert reason_of(bad, **outside) is None


@pytest.mark.parametrize(("age", "reason"), [(959.0, None), (960.0, None), (961.0, "challenge_stale")])
def test_freshness_lasts_sixteen_minutes(age: float, reason: str | None) -> None:
    assert reason_of(GOOD, 1_000.0 + age) == reason


def test_an_unknown_level_meets_no_floor_at_all() -> None:
    level: Any = "platinum"
    assert reason_of(replace(GOOD, level=level), min_trust="none") == "trust_floor"
    assert reason_of(replace(GOOD, level=level), owner=True, waive_floor=True) == "trust_floor"


def test_an_owner_is_excused_from_the_floor_and_from_privacy_of_the_machine_only() -> None:
    own = replace(GOOD, level="none")
    mine = {"owner": True, "waive_floor": True}
    assert reason_of(own, private_only=True, **mine) is None
    assert reason_of(own) == "trust_floor"
    assert reason_of(own, owner=True) == "trust_floor"
    assert reason_of(GOOD, private_only=True, waive_floor=True) == "private_only"
    assert reason_of(replace(own, untrusted="hard"), **mine) == "untrusted"
    assert reason_of(replace(own, private_text=False), **mine) == "private_text"


def test_only_a_session_that_passed_a_challenge_and_kept_its_trust_is_proven() -> None:
    assert is_proven(GOOD)
    assert not is_proven(replace(GOOD, admitted=False))
    assert not is_proven(replace(GOOD, untrusted="transient"))


def test_full_capabilities_are_eligible() -> None:
    assert facts().eligible(POLICY, dev=False)


@pytest.mark.parametrize("name", [*NEEDED, "python_runtime_locked", "dangerous_modules_blocked"])
def test_each_capability_of_a_python_backend_is_needed(name: str) -> None:
    assert not facts(capabilities=msgspec.structs.replace(ALL, **{name: False})).eligible(POLICY, dev=False)


@pytest.mark.parametrize("name", NEEDED)
def test_the_development_profile_waives_none_of_the_five(name: str) -> None:
    assert not facts(capabilities=msgspec.structs.replace(ALL, **{name: False})).eligible(POLICY, dev=True)


@pytest.mark.parametrize("name", ["python_runtime_locked", "dangerous_modules_blocked"])
def test_import_path_is_waived_for_development_and_for_the_native_backend(name: str) -> None:
    caps = msgspec.structs.replace(ALL, **{name: False})
    assert facts(capabilities=caps).eligible(POLICY, dev=True)
    assert facts(capabilities=caps, backend="mlx-swift").eligible(POLICY, dev=False)


def test_self_reported_sip_is_not_consulted() -> None:
    assert facts(capabilities=msgspec.structs.replace(ALL, sip_enabled=False)).eligible(POLICY, dev=False)


@pytest.mark.parametrize(
    "changes",
    [{"has_key": False}, {"encrypted_chunks": False}, {"capabilities": None}, {"backend": "vllm"}],
)
def test_key_encryption_backend_and_capabilities_are_needed(changes: dict[str, Any]) -> None:
    assert not facts(**changes).eligible(POLICY, dev=True)
