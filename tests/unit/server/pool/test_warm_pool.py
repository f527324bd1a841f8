"""The controller over a small fleet: targets, the choice of machines, and what it leaves alone."""

from __future__ import annotations

import pytest

from protocol.messages.from_provider import LoadModelStatus, ModelEntry
from server.pool import PoolPolicy, PoolRunner, WarmPool, plan_swaps
from server.pool.candidates import cold_machines
from server.registry import CatalogEntry, LoadCause, QueueFailure, RoutingPolicy, SelfRoute, Waiter
from server.registry.demand import Signal
from tests.unit.server.registry.fleet import FakeChannel, Fleet, register_message, request, trusted, wire_slot

MODEL = "m"
OTHER = "other"
BOTH = (ModelEntry(id=MODEL, size_bytes=8_000_000_000), ModelEntry(id=OTHER, size_bytes=8_000_000_000))


def cold(fleet: Fleet, name: str, **report: object) -> None:
    """A trusted, idle machine with nothing loaded."""
    message = register_message(*BOTH)
    fleet.connect(name, message=message, account_id=None)
    fleet.beat(name, **{"free_for_load": 40.0, **report})


def warm(fleet: Fleet, name: str, model: str = MODEL, **slot: object) -> None:
    """A machine with one model resident."""
    fleet.connect(name, message=register_message(*BOTH))
    fleet.beat(
        name,
        wire_slot(model, **{"max_concurrency": 2, "active_token_budget_max": 100_000, **slot}),
        free_for_load=40.0,
    )


def controller(fleet: Fleet, **policy: object) -> WarmPool:
    return WarmPool(PoolPolicy(**policy), fleet.registry)  # type: ignore[arg-type]


def suffer(fleet: Fleet, model: str = MODEL, signal: Signal = Signal.CAPACITY_REJECT) -> None:
    fleet.registry.demand.note(model, signal, fleet.now)


def queue(fleet: Fleet, number: int, model: str = MODEL, **fields: object) -> Waiter | QueueFailure:
    asked = request(number, model=model, **fields)
    decision = fleet.registry.look(asked, fleet.now)
    return fleet.registry.enqueue(asked, decision, now=fleet.now, wake=lambda: None)


def test_pressure_orders_a_load_on_an_idle_machine(fleet: Fleet) -> None:
    warm(fleet, "w")
    for name in ("a", "b"):
        cold(fleet, name)
    pool = controller(fleet)
    assert pool.tick(fleet.now).orders == ()
    suffer(fleet)
    (snapshot,) = (done := pool.tick(fleet.now)).snapshots
    assert (snapshot.warm, snapshot.eligible_cold, snapshot.target, snapshot.loads) == (1, 2, 2, 1)
    (order,) = done.orders
    assert (order.model, order.cause) == (MODEL, LoadCause.WARM)


def test_a_pending_load_counts_towards_the_target(fleet: Fleet) -> None:
    warm(fleet, "w")
    for name in ("a", "b"):
        cold(fleet, name)
    pool = controller(fleet)
    suffer(fleet)
    (order,) = pool.tick(fleet.now).orders
    assert fleet.registry.request_load(order.session.session_id, MODEL, order.cause, fleet.now)
    done = pool.tick(fleet.now)
    assert done.orders == ()
    assert done.snapshots[0].pending == 1


def test_targets_are_held_for_five_minutes(fleet: Fleet) -> None:
    warm(fleet, "w")
    for number in range(5):
        cold(fleet, f"c{number}")
    pool = controller(fleet, max_loads=0)
    for number in range(2):
        queue(fleet, number, account_id=f"a{number}")
    suffer(fleet)
    assert pool.tick(fleet.now).snapshots[0].target == 2
    fleet.registry._room.fail_model(MODEL, QueueFailure.NO_PROVIDER)
    fleet.clock.now += 61.0
    fleet.registry.demand.asked(MODEL, fleet.now)
    later = pool.tick(fleet.now).snapshots[0]
    assert (later.wanted, later.target) == (1, 2)
    fleet.clock.now += 240.0
    assert pool.tick(fleet.now).snapshots[0].target == 1


@pytest.mark.parametrize("policy", [{"observe_only": True}, {"max_loads": 0}, {"max_pending": 0}])
def test_observing_orders_nothing(fleet: Fleet, policy: dict[str, object]) -> None:
    warm(fleet, "w")
    cold(fleet, "c")
    runner = PoolRunner(fleet.registry, PoolPolicy(**policy))  # type: ignore[arg-type]
    suffer(fleet)
    assert runner.round(fleet.now) == []
    assert runner.snapshots[0].target == 2
    assert fleet.registry.session("c").channel.loads == []  # type: ignore[union-attr]


def test_two_models_never_choose_the_same_machine(fleet: Fleet) -> None:
    warm(fleet, "w", MODEL, state="running", num_running=1)
    warm(fleet, "v", OTHER, state="running", num_running=1)
    cold(fleet, "only")
    pool = controller(fleet)
    suffer(fleet, MODEL)
    suffer(fleet, OTHER)
    queue(fleet, 1, OTHER)
    fleet.clock.now += 5.0
    done = pool.tick(fleet.now)
    assert [(order.session.session_id, order.model) for order in done.orders] == [("only", OTHER)]


@pytest.mark.parametrize(
    ("prices", "winner"), [({MODEL: 2.0, OTHER: 1.0}, MODEL), ({MODEL: 1.0, OTHER: 2.0}, OTHER)], ids=["m", "other"]
)
def test_of_two_that_lack_as_much_the_dearer_one_gets_the_machine(
    fleet: Fleet, prices: dict[str, float], winner: str
) -> None:
    for model in (MODEL, OTHER):
        warm(fleet, model, model, state="running", num_running=1)
        suffer(fleet, model)
    cold(fleet, "only")
    done = controller(fleet).tick(fleet.now, prices.__getitem__)
    assert [(order.session.session_id, order.model) for order in done.orders] == [("only", winner)]


@pytest.mark.parametrize("free", [1.0, 50_000.0])
def test_whoever_waits_long_enough_comes_before_a_dearer_model(fleet: Fleet, free: float) -> None:
    for model in (MODEL, OTHER):
        warm(fleet, model, model, state="running", num_running=1)
        suffer(fleet, model)
    cold(fleet, "only")
    queue(fleet, 1, OTHER)
    pool, prices = controller(fleet), {MODEL: 200_000.0, OTHER: free}
    assert pool.tick(fleet.now, prices.__getitem__).orders[0].model == MODEL
    fleet.clock.now += 16.0
    assert pool.tick(fleet.now, prices.__getitem__).orders[0].model == OTHER


def test_the_last_copy_of_a_model_in_use_is_left_alone(fleet: Fleet) -> None:
    small = {"memory_gb": 16.0, "free_for_load": 12.0}
    fleet.connect("holder", message=register_message(*BOTH))
    fleet.beat("holder", wire_slot(OTHER), **small)
    fleet.registry.demand.asked(OTHER, fleet.now)
    found = cold_machines(fleet.registry, MODEL, fleet.now)
    assert (found.machines, dict(found.disqualified)) == ([], {"last_copy": 1})
    fleet.clock.now += 601.0
    fleet.registry.set_trust("holder", trusted(fleet.now), fleet.now)
    assert len(cold_machines(fleet.registry, MODEL, fleet.now).machines) == 1
    fleet.registry.demand.asked(OTHER, fleet.now)
    fleet.connect("second", message=register_message(*BOTH))
    fleet.beat("second", wire_slot(OTHER), **small)
    assert len(cold_machines(fleet.registry, MODEL, fleet.now).machines) == 2


def test_machines_that_cannot_load_are_tallied_by_reason(fleet: Fleet) -> None:
    warm(fleet, "warm")
    cold(fleet, "tight", free_for_load=2.0)
    cold(fleet, "busy")
    fleet.beat("busy", wire_slot(OTHER, state="running", num_running=1), free_for_load=40.0)
    cold(fleet, "loading")
    fleet.registry.request_load("loading", OTHER, LoadCause.WARM, fleet.now)
    cold(fleet, "untrusted")
    fleet.registry.set_trust("untrusted", trusted(fleet.now, untrusted="hard"), fleet.now)
    cold(fleet, "failed")
    fleet.registry.request_load("failed", MODEL, LoadCause.WARM, fleet.now)
    fleet.registry.load_model_status("failed", LoadModelStatus(model_id=MODEL, status="failed"), fleet.now)
    cold(fleet, "good")
    found = cold_machines(fleet.registry, MODEL, fleet.now)
    assert [one.session.session_id for one in found.machines] == ["good"]
    assert dict(found.disqualified) == {
        "warm": 1,
        "no_room": 1,
        "busy": 1,
        "loading": 1,
        "untrusted": 1,
        "cooldown": 1,
    }


def test_room_speed_and_calm_rank(fleet: Fleet) -> None:
    cold(fleet, "roomy", free_for_load=48.0)
    cold(fleet, "less", free_for_load=47.0)
    cold(fleet, "slow", free_for_load=47.0)
    fleet.registry.load_durations.note(MODEL, "M3|Max", 30.0)
    order = [one.session.session_id for one in cold_machines(fleet.registry, MODEL, fleet.now).machines]
    assert order == ["roomy", "less", "slow"]


def test_swap_planner_orders_one_load_however_many_wait(fleet: Fleet) -> None:
    fleet.registry.policy  # noqa: B018
    cold(fleet, "c")
    runner = PoolRunner(fleet.registry, PoolPolicy(enabled=False))
    queue(fleet, 1)
    assert len(runner.round(fleet.now)) == 1
    for number in range(2, 8):
        queue(fleet, number)
        assert runner.round(fleet.now) == []
    assert fleet.registry.session("c").channel.loads == [MODEL]  # type: ignore[union-attr]


def test_a_failed_load_is_tried_again_after_thirty_seconds(fleet: Fleet) -> None:
    cold(fleet, "c")
    queue(fleet, 1)
    assert len(plan_swaps(fleet.registry, fleet.now)) == 1
    fleet.registry.request_load("c", MODEL, LoadCause.QUEUE, fleet.now)
    fleet.registry.load_model_status("c", LoadModelStatus(model_id=MODEL, status="failed"), fleet.now)
    fleet.clock.now += 29.9
    assert plan_swaps(fleet.registry, fleet.now) == []
    fleet.clock.now += 0.2
    assert len(plan_swaps(fleet.registry, fleet.now)) == 1


def test_a_machine_busy_with_another_model_loads_nothing(fleet: Fleet) -> None:
    cold(fleet, "c")
    fleet.beat("c", wire_slot(OTHER, state="running", num_running=1), free_for_load=40.0)
    queue(fleet, 1)
    assert plan_swaps(fleet.registry, fleet.now) == []


def test_a_warm_or_loading_machine_makes_a_load_needless(fleet: Fleet) -> None:
    cold(fleet, "c")
    warm(fleet, "full", num_running=2, state="running")
    queue(fleet, 1)
    assert plan_swaps(fleet.registry, fleet.now) == []


def test_success_serves_the_waiter_before_the_next_heartbeat(fleet: Fleet) -> None:
    cold(fleet, "c")
    runner = PoolRunner(fleet.registry, PoolPolicy(enabled=False))
    waiter = queue(fleet, 1)
    assert isinstance(waiter, Waiter)
    (order,) = runner.round(fleet.now)
    fleet.clock.now += 4.0
    fleet.registry.load_model_status(
        order.session.session_id, LoadModelStatus(model_id=MODEL, status="succeeded"), fleet.now
    )
    assert waiter.reservation is not None
    assert fleet.registry.load_durations.known(MODEL, "M3|Max") == 4.0


async def test_hopeless_waiters_fail_with_the_load_but_owners_wait_on(fleet: Fleet) -> None:
    cold(fleet, "c")
    PoolRunner(fleet.registry, PoolPolicy(enabled=False))
    lost = queue(fleet, 1)
    owner = queue(fleet, 2, account_id="owner", self_route=SelfRoute.PREFER)
    assert isinstance(lost, Waiter)
    assert isinstance(owner, Waiter)
    fleet.registry.request_load("c", MODEL, LoadCause.QUEUE, fleet.now)
    fleet.registry.load_model_status("c", LoadModelStatus(model_id=MODEL, status="failed"), fleet.now)
    assert lost.failure is QueueFailure.NO_PROVIDER
    assert owner.failure is None


def test_a_model_that_fits_no_machine_is_never_loaded() -> None:
    fleet = Fleet(
        policy=RoutingPolicy(quality_cap=False), catalog=[CatalogEntry(id=MODEL, size_gb=60.0, min_ram_gb=128.0)]
    )
    cold(fleet, "c")
    found = cold_machines(fleet.registry, MODEL, fleet.now)
    assert (found.machines, dict(found.disqualified)) == ([], {"model_too_large": 1})


def test_fake_channels_remember_loads() -> None:
    channel = FakeChannel()
    channel.load_model("x")
    assert channel.loads == ["x"]
