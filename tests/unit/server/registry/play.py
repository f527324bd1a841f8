"""A small fleet to which everything happens that can: what tests of the index compare its choices over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from msgspec import structs

from protocol.messages.from_provider import LoadModelStatus, ModelEntry, ModelsUpdate, SystemMetrics
from server.registry import LoadCause, RoutingPolicy, SelfRoute, Traits
from server.registry.least_loaded import DRAWS
from tests.unit.server.registry.agreement import MODELS
from tests.unit.server.registry.fleet import Fleet, register_message, request, trusted, wire_slot

if TYPE_CHECKING:
    from random import Random

NAMES = tuple(f"s{number}" for number in range(5))
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
DRAWN = st.lists(st.floats(0, 0.999), min_size=DRAWS + 2, max_size=DRAWS + 2)
steps = st.lists(
    st.tuples(
        st.sampled_from(
            (
                "beat",
                "beat",
                "legacy",
                "repeat",
                "pace",
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
    account_id=st.sampled_from((None, "consumer", "owner-1", "owner-4")),
    traits=st.sampled_from((Traits(), Traits(has_tools=True), Traits(requires_vision=True))),
    self_route=st.sampled_from((SelfRoute.OFF, SelfRoute.OFF, SelfRoute.PREFER)),
    excluded_sessions=st.sampled_from((frozenset[str](), frozenset({"s0"}), frozenset({"s0", "s3"}))),
    avoid_version=st.sampled_from((None, "0.6.30")),
)
policies = st.builds(
    lambda cost, quality, hard, base, dedicated: RoutingPolicy(
        cost_model=cost,
        quality_cap=quality,
        ttft_hard_reject=hard,
        first_content_base_ms=base,
        dedicated_models=dedicated,
    ),
    st.sampled_from(("v1", "v2")),
    st.booleans(),
    st.booleans(),
    st.sampled_from((500.0, 5_000.0)),
    st.sampled_from(((), ("m",))),
)


class Play:
    """A small fleet to which things happen."""

    def __init__(self, policy: RoutingPolicy, size: int = 5) -> None:
        self.fleet = Fleet(policy=policy)
        self.held: list[Any] = []
        self.number = 0
        self.seq = 0
        self.reports: dict[str, tuple[list[Any], dict[str, Any]]] = {}
        for index in range(size):
            self._connect(index)

    def _connect(self, index: int) -> None:
        entries = [ModelEntry(id=model, size_bytes=int(4e9)) for model in MODELS[: 1 + index % 2]]
        message = register_message(
            *entries,
            decode_tps=(90.0, 14.0, 0.0, 91.0, 60.0)[index % 5],
            version=f"0.6.3{index % 3}",
            private_only=index % 5 == 4,
        )
        self.fleet.connect(f"s{index}", message=message, account_id=f"owner-{index}")

    def step(self, what: str, index: int, report: list[Any], number: int) -> None:
        fleet, registry = self.fleet, self.fleet.registry
        fleet.clock.now += 0.001
        name, now = f"s{index}", fleet.now
        if registry.session(name) is None:
            self._connect(index)
        self.seq += 1
        match what:
            case "beat":
                metrics = SystemMetrics(memory_pressure=number / 4, cpu_usage=0.3, thermal_state=THERMAL[number])
                memory = (0.0, 8.0, 64.0, 192.0)[number]
                fields = {"memory_gb": memory, "system_metrics": metrics, "seq": self.seq * (number % 2)}
                fleet.beat(name, *report, **fields)
                self.reports[name] = (report, fields)
            case "pace" if name in self.reports:
                report, fields = self.reports[name]
                tps = (None, 12.0, 30.0, 55.5)[number]
                paced = [structs.replace(one, observed_decode_tps=tps) for one in report]
                fleet.beat(name, *paced, **{**fields, "seq": fields["seq"] and self.seq})
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
                for _ in range(1 + 3 * (number == 3)):
                    registry.faults.error(f"dev-{name}", "m", "base", 502, now)
                    registry.machines.failed(f"dev-{name}")
            case "refuse":
                for _ in range(4):
                    registry.faults.capacity_rejected(f"dev-{name}", "m", now)
            case "serve":
                registry.faults.accepted(f"dev-{name}", "m", now)
                registry.faults.success(f"dev-{name}", "m", "base", now)
                for _ in range(8 * number):
                    registry.machines.succeeded(f"dev-{name}")
            case "wait":
                fleet.clock.now += (0.5, 61.0, 151.0, 500.0)[number]
            case "gone":
                registry.disconnect(name, now, graceful=True)


WHAT = (
    ("beat",) * 8
    + ("pace",) * 2
    + ("reserve",) * 4
    + ("release", "sign", "trust", "drain", "load", "fault", "refuse", "serve", "gone")
)


def random_slot(random: Random) -> Any:
    budget = random.choice((0, 900, 5_000, 30_000, 100_000, 100_000))
    return wire_slot(
        random.choice(MODELS),
        random.choice(("running", "idle", "idle", "idle", "idle_shutdown", "reloading", "odd")),
        num_running=random.choice((0, 0, 0, 1, 2)),
        num_waiting=random.choice((0, 0, 0, 0, 1)),
        active_token_budget_max=budget,
        active_token_budget_used=random.randrange(budget + 1) if random.random() < 0.4 else 0,
        max_tokens_potential=random.choice((0, 0, 400)),
        observed_decode_tps=random.choice((None, 12.0, 55.5, 60.0, 71.0)),
    )


def usual_slot(random: Random) -> Any:
    """One of many machines of a kind: what it can do is the same, what it does is not."""
    running = random.choice((0, 0, 0, 1, 2))
    return wire_slot(
        "m",
        "running" if running else "idle",
        num_running=running,
        active_token_budget_max=random.choice((900, 5_000, 30_000, 100_000)),
        active_token_budget_used=random.choice((0, 0, 700)),
        observed_decode_tps=60.0 / (1 + 0.39 * running),
        observed_prefill_tps=500.0,
    )
