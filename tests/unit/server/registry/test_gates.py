"""Gates in their order, one reason each (acceptance 3)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from server.registry import CatalogEntry, Reason, RoutedRequest, RoutingPolicy, SelfRoute, Traits
from server.registry.catalog import Catalog
from server.registry.faults import FaultMemory
from server.registry.gates import GateContext, evaluate
from server.registry.pair_faults import PairFaults
from server.registry.rates import FleetRates
from server.registry.reasons import HEALTH
from server.registry.state import ModelAd, Session, SlotState
from server.registry.walk import scan
from tests.unit.server.registry.fleet import request, session, slot, trusted

NOW = 1_000.0


class Faults:
    """A fault view with fixed answers."""

    def __init__(self, *reasons: Reason) -> None:
        self.found = PairFaults(
            load_cooldown=Reason.DISPATCH_LOAD_COOLDOWN in reasons,
            error_shapes=("base",) if Reason.ERROR_COOLDOWN in reasons else (),
            capacity_cooldown=Reason.CAPACITY_COOLDOWN in reasons,
            sick=next((one for one in reasons if one in HEALTH), None),
        )

    def pair(self, stable_id: str, model: str, now: float) -> PairFaults:
        return self.found

    def probe_taken(self, stable_id: str, model: str, now: float) -> None:
        raise AssertionError("Gates reserve nothing.")


def context(*faults: Reason, catalog: Catalog | None = None, **policy: object) -> GateContext:
    return GateContext(
        policy=RoutingPolicy(**{"quality_cap": False, **policy}),  # type: ignore[arg-type]
        catalog=catalog if catalog is not None else Catalog(),
        faults=Faults(*faults) if faults else FaultMemory(),
        rates=FleetRates(),
    )


def gate(one: Session, asked: RoutedRequest | None = None, *faults: Reason, **policy: object) -> Reason | None:
    return evaluate(one, asked if asked is not None else request(), context(*faults, **policy), NOW)


def good(**fields: object) -> Session:
    return session(slot(budget=(100_000, 0, 0)), **fields)  # type: ignore[arg-type]


BROKEN: list[tuple[Reason, Session, RoutedRequest]] = [
    (Reason.ALLOWLIST, good(), request(allowed_serials=frozenset({"A"}))),
    (Reason.ALLOWLIST, good(), request(self_route=SelfRoute.EXCLUSIVE)),
    (Reason.EXCLUDED, good(), request(excluded_sessions=frozenset({"s"}))),
    (Reason.NOT_SERVING_MODEL, good(), request(model="other")),
    (Reason.UNTRUSTED, good(trust=trusted(untrusted="transient")), request()),
    (Reason.PRIVATE_ONLY, good(caps={"private_only": True}), request()),
    (Reason.TRUST_FLOOR, good(trust=trusted(level="self_signed")), request()),
    (Reason.RUNTIME_UNVERIFIED, good(trust=trusted(runtime_verified=False)), request()),
    (Reason.PRIVATE_TEXT, good(trust=trusted(private_text=False)), request()),
    (Reason.PRIVATE_TEXT, good(caps={"public_key": b""}), request()),
    (Reason.PRIVATE_TEXT, good(caps={"encrypted_chunks": False}), request()),
    (Reason.CHALLENGE_STALE, good(trust=trusted(verified_at=None)), request()),
    (Reason.TRAIT_FLOOR, good(models=(ModelAd(id="m", template_render_ok=False),)), request()),
    (Reason.TRAIT_FLOOR, good(caps={"tools_ok": False}), request(traits=Traits(has_tools=True))),
    (Reason.TRAIT_FLOOR, good(), request(traits=Traits(has_tools=True, requires_tool_constraint=True))),
    (Reason.TRAIT_FLOOR, good(), request(traits=Traits(required_features=frozenset({"tickets"})))),
    (Reason.VISION, good(), request(traits=Traits(requires_vision=True))),
    (Reason.SLOT_CRASHED, session(slot(SlotState.CRASHED)), request()),
    (Reason.SLOT_RELOADING, session(slot(SlotState.LOADING)), request()),
    (Reason.THERMAL_CRITICAL, good(live={"thermal": "critical"}), request()),
    (Reason.NO_HEADROOM, session(slot(running=2, max_concurrency=2)), request()),
    (Reason.FREE_MEMORY, session(slot(budget=(199, 0, 0))), request()),
    (Reason.DRAINING, good(live={"draining_until": NOW + 1}), request()),
]


@pytest.mark.parametrize(("reason", "one", "asked"), BROKEN, ids=lambda value: getattr(value, "value", ""))
def test_each_gate_has_its_reason(reason: Reason, one: Session, asked: RoutedRequest) -> None:
    assert gate(one, asked) is reason


def test_a_good_provider_passes() -> None:
    assert gate(good()) is None


def test_offline_and_restoring() -> None:
    one = good()
    one.restoring = True
    assert gate(one) is Reason.STATE_RESTORING
    one.connected = False
    assert gate(one) is Reason.OFFLINE


@pytest.mark.parametrize(
    "reason",
    [Reason.DISPATCH_LOAD_COOLDOWN, Reason.ERROR_COOLDOWN, Reason.CAPACITY_COOLDOWN, Reason.BREAKER, Reason.EJECTION],
)
def test_fault_gates_come_before_liveness_and_after_structure(reason: Reason) -> None:
    one = good()
    one.connected = False
    assert gate(one, None, reason) is reason
    assert gate(one, request(model="other"), reason) is Reason.NOT_SERVING_MODEL


def test_first_gate_that_fails_names_the_rejection() -> None:
    one = session(
        slot(SlotState.CRASHED),
        models=(ModelAd(id="m", template_render_ok=False),),
        trust=trusted(level="none", verified_at=None, runtime_verified=False, private_text=False, untrusted="hard"),
        caps={"private_only": True},
        live={"draining_until": NOW + 1, "thermal": "critical"},
    )
    seen = []
    repairs = [
        lambda: setattr(one, "live", session(live={"thermal": "critical"}).live),
        lambda: setattr(one, "trust", replace(one.trust, untrusted=None)),
        lambda: setattr(one, "caps", session(models=tuple(one.caps.models.values())).caps),
        lambda: setattr(one, "trust", replace(one.trust, level="hardware")),
        lambda: setattr(one, "trust", replace(one.trust, runtime_verified=True)),
        lambda: setattr(one, "trust", replace(one.trust, private_text=True)),
        lambda: setattr(one, "trust", replace(one.trust, verified_at=NOW)),
        lambda: setattr(one, "caps", session().caps),
        lambda: one.slots.update(m=slot()),
        lambda: setattr(one, "live", session().live),
    ]
    for repair in repairs:
        seen.append(gate(one))
        repair()
        one.touch_slow()
    assert seen == [
        Reason.DRAINING,
        Reason.UNTRUSTED,
        Reason.PRIVATE_ONLY,
        Reason.TRUST_FLOOR,
        Reason.RUNTIME_UNVERIFIED,
        Reason.PRIVATE_TEXT,
        Reason.CHALLENGE_STALE,
        Reason.TRAIT_FLOOR,
        Reason.SLOT_CRASHED,
        Reason.THERMAL_CRITICAL,
    ]
    assert gate(one) is None


@pytest.mark.parametrize(("opinion", "reason"), [(False, Reason.TRAIT_FLOOR), (True, None), (None, None)])
def test_template_verdict_fences_every_request(opinion: bool | None, reason: Reason | None) -> None:
    assert gate(good(models=(ModelAd(id="m", template_render_ok=opinion),))) is reason


@pytest.mark.parametrize(("age", "reason"), [(959, None), (960, None), (961, Reason.CHALLENGE_STALE)])
def test_challenge_freshness(age: float, reason: Reason | None) -> None:
    assert gate(good(trust=trusted(NOW - age))) is reason


def test_owner_routes_to_his_unattested_machine() -> None:
    mine = good(trust=trusted(level="none"), ident={"account_id": "consumer"})
    asked = request(self_route=SelfRoute.EXCLUSIVE)
    assert gate(mine, asked) is None
    assert gate(mine, request(self_route=SelfRoute.PREFER)) is None
    assert gate(mine, request()) is Reason.TRUST_FLOOR
    assert gate(mine, request(account_id="someone", self_route=SelfRoute.PREFER)) is Reason.TRUST_FLOOR


def test_unknown_level_meets_no_floor() -> None:
    mine = good(trust=trusted(level="platinum"), ident={"account_id": "consumer"})
    assert gate(mine, request(self_route=SelfRoute.EXCLUSIVE)) is Reason.TRUST_FLOOR
    assert gate(good(trust=trusted(level="platinum")), request(), min_trust="none") is Reason.TRUST_FLOOR


@pytest.mark.parametrize("field", ["runtime_verified", "private_text"])
def test_owner_is_relaxed_on_nothing_else(field: str) -> None:
    mine = good(trust=trusted(**{field: False}), ident={"account_id": "consumer"})
    assert gate(mine, request(self_route=SelfRoute.EXCLUSIVE)) is not None


def test_private_machine_serves_its_owner_only() -> None:
    mine = good(caps={"private_only": True}, ident={"account_id": "consumer"})
    assert gate(mine, request(self_route=SelfRoute.PREFER)) is None
    assert gate(mine, request(account_id="someone", self_route=SelfRoute.PREFER)) is Reason.PRIVATE_ONLY
    assert gate(mine, request(account_id=None)) is Reason.PRIVATE_ONLY


def test_allowed_serials() -> None:
    one = good(ident={"serials": frozenset({"A", "B"})})
    assert gate(one, request(allowed_serials=frozenset({"B", "C"}))) is None
    assert gate(one, request(allowed_serials=frozenset({"C"}))) is Reason.ALLOWLIST


def test_dedicated_family_wants_a_provider_of_its_own() -> None:
    alone = good(models=(ModelAd(id="m"), ModelAd(id="m-2")))
    mixed = good(models=(ModelAd(id="m"), ModelAd(id="x")), ident={"account_id": "consumer"})
    assert gate(alone, request(), dedicated_models=("m",)) is None
    assert gate(mixed, request(), dedicated_models=("m",)) is Reason.DEDICATED
    assert gate(mixed, request(self_route=SelfRoute.PREFER), dedicated_models=("m",)) is None
    assert gate(mixed, request(model="x"), dedicated_models=("m",)) is None


HASHED = Catalog([CatalogEntry(id="m", weight_hash="H")])


@pytest.mark.parametrize(
    ("advertised", "confirmed", "resident_since", "reason"),
    [
        ("H", {}, None, None),
        ("", {}, None, Reason.MODEL_UNVERIFIED),
        ("", {"m": "H"}, 900.0, None),
        ("H", {"m": "X"}, 900.0, Reason.MODEL_UNVERIFIED),
        ("H", {}, NOW, None),
        ("H", {}, NOW - 1, Reason.MODEL_UNVERIFIED),
    ],
    ids=["cold", "no-hash", "confirmed", "contradicted", "loaded-after-challenge", "challenge-did-not-confirm"],
)
def test_catalogued_weights_must_be_proven(
    advertised: str, confirmed: dict[str, str], resident_since: float | None, reason: Reason | None
) -> None:
    state = SlotState.ABSENT if resident_since is None else SlotState.RESIDENT
    one = session(
        slot(state, resident_since=resident_since),
        models=(ModelAd(id="m", weight_hash=advertised),),
        trust=trusted(NOW, model_hashes=confirmed),
    )
    assert evaluate(one, request(), context(catalog=HASHED), NOW) is reason


@pytest.mark.parametrize("verified_at", [None, NOW])
def test_a_session_that_never_passed_a_challenge_is_not_fresh(verified_at: float | None) -> None:
    assert gate(good(trust=trusted(verified_at, admitted=False))) is Reason.CHALLENGE_STALE


def test_hard_ttft_mode_rejects_late_public_text_only() -> None:
    late = good(decode_tps=1.0)
    mine = good(decode_tps=1.0, ident={"account_id": "consumer"})
    hard = {"ttft_hard_reject": True, "min_decode_tps": 0.0}
    asked = request(prompt_tokens=1_000)
    assert gate(late, asked, **hard) is Reason.TTFT_CEILING
    assert gate(late, asked) is None
    assert gate(mine, request(prompt_tokens=1_000, self_route=SelfRoute.PREFER), **hard) is None
    assert gate(session(slot(), has_capacity=False, decode_tps=1.0), asked, **hard) is None


def test_every_provider_is_a_candidate_or_has_one_reason() -> None:
    fleet = [one for _, one, asked in BROKEN if asked == request()] + [good(), good()]
    found = scan(fleet, request(), context(), NOW)
    assert len(found.candidates) == 2
    assert len(found.candidates) + sum(found.rejections.values()) == found.scanned == len(fleet)


def test_degraded_only_fleet_still_serves() -> None:
    found = scan([good()], request(), context(Reason.BREAKER), NOW)
    assert found.fail_open
    assert len(found.candidates) == 1
    assert found.scanned == 1
    full = session(slot(running=2, max_concurrency=2), session_id="full")
    found = scan([full], request(), context(Reason.EJECTION), NOW)
    assert (found.fail_open, found.rejections) == (True, {Reason.NO_HEADROOM: 1})


def test_breakers_hold_while_a_healthy_provider_is_only_full() -> None:
    class OneBroken(Faults):
        def pair(self, stable_id: str, model: str, now: float) -> PairFaults:
            return PairFaults(sick=Reason.BREAKER if stable_id == "dev-bad" else None)

    shared = context()
    shared.faults = OneBroken()
    full = session(slot(running=2, max_concurrency=2), session_id="full")
    found = scan([good(session_id="bad"), full], request(), shared, NOW)
    assert not found.fail_open
    assert found.rejections == {Reason.BREAKER: 1, Reason.NO_HEADROOM: 1}
