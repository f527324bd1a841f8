"""The walk over standings and the full functions always say the same, through every change of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.messages.from_provider import LoadModelStatus, ModelEntry, ModelsUpdate, SystemMetrics
from server.registry import CatalogEntry, LoadCause, Reason, RoutingPolicy, SelfRoute, Traits
from server.registry.gates import evaluate
from server.registry.price import candidate
from server.registry.walk import Priced, scan
from tests.unit.server.registry.fleet import Fleet, register_message, request, trusted, wire_slot

if TYPE_CHECKING:
    from server.registry import RoutedRequest

MODELS = ("m", "n")
THERMAL = ("nominal", "fair", "serious", "critical")
STATES = ("running", "idle", "idle_shutdown", "reloading", "crashed", "odd")

slots = st.builds(
    lambda model, state, running, waiting, budget, used, queued, potential, kv, tps, prefill, cap: wire_slot(
        model,
        state,
        num_running=running,
        num_waiting=waiting,
        active_token_budget_max=budget,
        active_token_budget_used=used,
        queued_token_budget=queued,
        max_tokens_potential=potential,
        kv_bytes_per_token=kv,
        observed_decode_tps=tps,
        observed_prefill_tps=prefill,
        max_concurrency=cap,
    ),
    st.sampled_from(MODELS),
    st.sampled_from(STATES),
    st.integers(0, 4),
    st.integers(0, 2),
    st.sampled_from((0, 300, 100_000)),
    st.integers(0, 300),
    st.integers(0, 100),
    st.integers(0, 500),
    st.sampled_from((0, 20_480)),
    st.sampled_from((None, 12.0, 55.5)),
    st.sampled_from((None, 700.0)),
    st.sampled_from((0, 1, 4)),
)
steps = st.lists(
    st.tuples(
        st.sampled_from(
            (
                "beat",
                "beat",
                "legacy",
                "repeat",
                "reserve",
                "reserve",
                "release",
                "sign",
                "trust",
                "untrust",
                "drain",
                "load",
                "update",
                "fault",
                "refuse",
                "serve",
                "wait",
                "gone",
            )
        ),
        st.integers(0, 2),
        st.lists(slots, max_size=3),
        st.integers(0, 3),
    ),
    max_size=25,
)
asks = st.builds(
    request,
    st.just(10_000),
    model=st.sampled_from(MODELS),
    prompt_tokens=st.sampled_from((1, 90, 5_000)),
    max_tokens=st.sampled_from((1, 110, 90_000)),
    account_id=st.sampled_from((None, "consumer", "owner-1")),
    traits=st.sampled_from((Traits(), Traits(has_tools=True), Traits(requires_vision=True))),
    self_route=st.sampled_from((SelfRoute.OFF, SelfRoute.OFF, SelfRoute.PREFER)),
    excluded_sessions=st.sampled_from((frozenset[str](), frozenset({"s0"}))),
)
policies = st.builds(
    lambda quality, hard, base, dedicated: RoutingPolicy(
        quality_cap=quality, ttft_hard_reject=hard, first_content_base_ms=base, dedicated_models=dedicated
    ),
    st.booleans(),
    st.booleans(),
    st.sampled_from((500.0, 5_000.0)),
    st.sampled_from(((), ("m",))),
)


class Play:
    """A small fleet to which things happen."""

    def __init__(self, policy: RoutingPolicy) -> None:
        self.fleet = Fleet(policy=policy)
        self.held: list[Any] = []
        self.number = 0
        self.seq = 0
        for index in range(3):
            self._connect(index)

    def _connect(self, index: int) -> None:
        entries = [ModelEntry(id=model, size_bytes=int(4e9)) for model in MODELS[: 1 + index % 2]]
        message = register_message(*entries, decode_tps=(90.0, 14.0, 0.0)[index], version=f"0.6.3{index}")
        self.fleet.connect(f"s{index}", message=message, account_id=f"owner-{index}")

    def step(self, what: str, index: int, report: list[Any], number: int) -> None:
        fleet, registry = self.fleet, self.fleet.registry
        name, now = f"s{index}", fleet.now
        if registry.session(name) is None:
            self._connect(index)
        self.seq += 1
        match what:
            case "beat":
                metrics = SystemMetrics(memory_pressure=number / 4, cpu_usage=0.3, thermal_state=THERMAL[number])
                memory = (0.0, 8.0, 64.0, 192.0)[number]
                fleet.beat(name, *report, seq=self.seq * (number % 2), memory_gb=memory, system_metrics=metrics)
            case "legacy":
                fleet.beat(name, capacity=False, warm_models=MODELS[: number % 3], active_model="m", status="serving")
            case "repeat":
                fleet.beat(name, *report, seq=1)
            case "reserve":
                self.number += 1
                asked = request(self.number, prompt_tokens=50 * (1 + number), max_tokens=100, model=MODELS[number % 2])
                reservation = registry.choose_and_reserve(asked, now).reservation
                if reservation is not None:
                    self.held.append(reservation)
            case "release" if self.held:
                self.held.pop(number % len(self.held)).release(now)
            case "sign" if self.held:
                self.held[number % len(self.held)].mark_streaming(now)
            case "trust":
                registry.set_trust(name, trusted(now), now)
            case "untrust":
                registry.set_trust(name, trusted(now, untrusted="hard"), now)
            case "drain":
                registry.mark_draining(name, now)
            case "load":
                registry.request_load(name, "m", LoadCause.MANUAL, now)
                registry.load_model_status(name, LoadModelStatus(model_id="m", status="succeeded"), now)
            case "update":
                entries = tuple(ModelEntry(id=model, size_bytes=int(4e9)) for model in MODELS[:number])
                registry.models_update(name, ModelsUpdate(models=entries), now)
            case "fault":
                registry.faults.error(f"dev-{name}", "m", "base", 502, now)
            case "refuse":
                for _ in range(4):
                    registry.faults.capacity_rejected(f"dev-{name}", "m", now)
            case "serve":
                registry.faults.accepted(f"dev-{name}", "m", now)
                registry.faults.success(f"dev-{name}", "m", "base", now)
            case "wait":
                fleet.clock.now += (0.5, 61.0, 151.0, 500.0)[number]
            case "gone":
                registry.disconnect(name, now, graceful=True)


def agrees(fleet: Fleet, asked: RoutedRequest) -> None:
    registry = fleet.registry
    context = registry._context
    sessions = list(registry._index.sessions(asked.model))
    found = scan(sessions, asked, context, fleet.now)
    rejections: dict[Reason, int] = {}
    passed = []
    for session in sessions:
        reason = evaluate(session, asked, context, fleet.now)
        if reason is not None:
            rejections[reason] = rejections.get(reason, 0) + 1
            continue
        full = candidate(session, asked, context, fleet.now)
        passed.append(
            Priced(session, full.cost, full.occupancy, full.pending, full.ttft_ms, full.projected_tps, owned=full.owned)
        )
    assert found.rejections == rejections
    assert found.scanned == len(sessions)
    assert found.candidates == passed


@settings(max_examples=150, deadline=None)
@given(policies, steps, asks, asks)
def test_the_walk_equals_gates_and_price_of_every_session(
    policy: RoutingPolicy, happenings: list[Any], first: RoutedRequest, second: RoutedRequest
) -> None:
    play = Play(policy)
    for happening in happenings:
        play.step(*happening)
        agrees(play.fleet, first)
    agrees(play.fleet, second)
    for name in ("s0", "s1", "s2"):
        play.fleet.registry.disconnect(name, play.fleet.now, graceful=True)


@pytest.mark.parametrize(("running", "rejections"), [(1, {}), (2, {Reason.NO_HEADROOM: 1})])
def test_a_busy_model_keeps_the_quality_cap(running: int, rejections: dict[Reason, int]) -> None:
    fleet = Fleet(policy=RoutingPolicy())
    fleet.connect("slow", message=register_message(decode_tps=14.0))
    fleet.beat("slow", wire_slot(active_token_budget_max=100_000, num_running=running))
    agrees(fleet, request())
    assert fleet.registry.look(request(), fleet.now).rejections == rejections


def test_the_price_holds_the_state_of_the_machine(fleet: Fleet) -> None:
    metrics = SystemMetrics(memory_pressure=0.5, cpu_usage=0.2, thermal_state="fair")
    fleet.connect("a")
    fleet.beat("a", wire_slot(active_token_budget_max=100_000), system_metrics=metrics)
    agrees(fleet, request())


def test_a_new_catalogue_voids_what_was_worked_out_with_the_old_one(fleet: Fleet) -> None:
    fleet.connect("a")
    fleet.beat("a", wire_slot(state="idle_shutdown"))
    assert fleet.registry.choose_and_reserve(request(), fleet.now).candidates == 1
    fleet.registry.set_catalog([CatalogEntry(id="m", min_ram_gb=65.0)], fleet.now)
    assert fleet.registry.look(request(2), fleet.now).rejections == {Reason.MODEL_TOO_LARGE: 1}


def test_a_session_that_is_gone_keeps_no_standing(fleet: Fleet) -> None:
    session = fleet.warm("a")
    fleet.registry.look(request(), fleet.now)
    assert list(session.standings) == ["m"]
    fleet.registry.disconnect("a", fleet.now, graceful=True)
    assert not session.standings


def test_a_model_that_is_offered_no_more_leaves_no_standing(fleet: Fleet) -> None:
    session = fleet.warm("a")
    fleet.registry.look(request(), fleet.now)
    fleet.registry.models_update("a", ModelsUpdate(models=(ModelEntry(id="n"),)), fleet.now)
    assert not session.standings
