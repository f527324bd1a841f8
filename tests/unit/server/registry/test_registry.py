"""The registry as owner: housekeeping, disconnect, catalogue, audit, views."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from protocol.messages.from_provider import ModelEntry
from server.ports import TrustState
from server.registry import (
    CatalogEntry,
    Enqueue,
    PrefixKey,
    Reason,
    Registry,
    ReleaseCause,
    Session,
    run_maintenance,
    status,
    warm_models,
)
from server.registry.holders import SWEPT_MAX
from server.registry.ledger import Reservation
from server.registry.views import in_flight, in_flight_total
from tests.unit.server.registry.fleet import Fleet, register_message, request, trusted, wire_slot


async def test_maintenance_forgets_idle_faults(autojump_clock: MockClock) -> None:
    registry = Registry(clock=trio.current_time)
    registry.faults.load_failed("dev", "m", trio.current_time())
    with trio.move_on_after(665):
        await run_maintenance(registry)
    assert len(registry.faults) == 0


async def test_maintenance_forgets_every_expired_key_of_a_prompt(autojump_clock: MockClock) -> None:
    registry = Registry(clock=trio.current_time)
    for number in range(2 * SWEPT_MAX + 1):
        registry.holders.confirm("m", (PrefixKey(number.to_bytes(16), 256),), "s", trio.current_time())
    await trio.sleep(registry.policy.cache_ttl)
    assert len(registry.holders) == 2 * SWEPT_MAX + 1
    with trio.move_on_after(65):
        await run_maintenance(registry)
    assert len(registry.holders) == 0


async def test_maintenance_audits(autojump_clock: MockClock) -> None:
    fleet = Fleet()
    fleet.clock.now = trio.current_time()
    session = fleet.warm("a")
    held = fleet.registry.choose_and_reserve(request(), fleet.now).reservation
    assert held is not None
    held.bind_owner(lambda: False)
    with trio.move_on_after(65):
        await run_maintenance(fleet.registry)
    assert held.release_cause is ReleaseCause.AUDIT
    assert len(session.ledger) == 0


def test_disconnect_leaves_nothing_behind(fleet: Fleet) -> None:
    session = fleet.warm("a")
    held = fleet.registry.choose_and_reserve(request(), fleet.now).reservation
    assert held is not None
    assert fleet.registry.disconnect("a", fleet.now, graceful=False) == (held,)
    assert (held.released, held.release_cause) == (True, ReleaseCause.DISCONNECT)
    assert fleet.registry.disconnect("a", fleet.now, graceful=False) == ()
    assert fleet.registry.session("a") is None
    assert len(fleet.registry.sessions()) == 0
    assert len(session.ledger) == 0
    assert session.ledger.by_model == {}
    assert status(session, fleet.now) == "offline"
    assert fleet.registry.look(request(2), fleet.now).scanned == 0


def test_fault_memory_survives_a_reconnect(fleet: Fleet) -> None:
    fleet.warm("a", stable_id="device")
    fleet.registry.faults.load_failed("device", "m", fleet.now)
    fleet.registry.disconnect("a", fleet.now, graceful=True)
    fleet.warm("b", stable_id="device")
    assert fleet.registry.look(request(), fleet.now).rejections == {Reason.DISPATCH_LOAD_COOLDOWN: 1}


def test_session_is_not_routable_before_its_state_is_restored(fleet: Fleet) -> None:
    fleet.warm("a", restoring=True)
    assert fleet.registry.look(request(), fleet.now).rejections == {Reason.STATE_RESTORING: 1}
    fleet.registry.identify("a", now=fleet.now, stable_id="serial", account_id="owner", serials=frozenset({"S"}))
    session = fleet.registry.session("a")
    assert session is not None
    assert (session.ident.stable_id, session.ident.account_id) == ("serial", "owner")
    asked = request(2, allowed_serials=frozenset({"S"}))
    assert fleet.registry.choose_and_reserve(asked, fleet.now).reservation is not None


def test_lost_trust_stops_routing_at_once(fleet: Fleet) -> None:
    fleet.warm("a")
    fleet.registry.set_trust("a", trusted(untrusted="hard"), fleet.now)
    assert fleet.registry.look(request(), fleet.now).rejections == {Reason.UNTRUSTED: 1}
    assert fleet.registry.set_trust("nobody", trusted(), fleet.now) is False


def test_draining_provider_said_so_in_an_answer(fleet: Fleet) -> None:
    fleet.warm("a")
    fleet.registry.mark_draining("a", fleet.now)
    decision = fleet.registry.look(request(), fleet.now)
    assert (decision.rejections, decision.capacity_rejections) == ({Reason.DRAINING: 1}, 1)
    fleet.beat("a", wire_slot())
    assert fleet.registry.look(request(), fleet.now).candidates == 1


def test_new_catalogue_is_applied_to_connected_providers() -> None:
    fleet = Fleet(catalog=[CatalogEntry(id="m")])
    session = fleet.warm("a", message=register_message(ModelEntry(id="m"), ModelEntry(id="n")))
    assert set(session.caps.models) == {"m"}
    fleet.registry.set_catalog([CatalogEntry(id="n")], fleet.now)
    assert set(session.caps.models) == {"n"}
    assert warm_models(session) == ()
    assert fleet.registry.look(request(model="n"), fleet.now).scanned == 1
    assert fleet.registry.look(request(model="m"), fleet.now).scanned == 0
    fleet.registry.set_catalog([CatalogEntry(id="n", active=False)], fleet.now)
    assert session.caps.models == {}


def test_weights_are_checked_again_after_the_load() -> None:
    fleet = Fleet(catalog=[CatalogEntry(id="m", weight_hash="H")])
    fleet.connect("a", message=register_message(ModelEntry(id="m", weight_hash="H")))
    fleet.beat("a")
    assert fleet.registry.look(request(), fleet.now).candidates == 1
    fleet.clock.now += 10
    fleet.beat("a", wire_slot())
    assert fleet.registry.look(request(), fleet.now).candidates == 1
    fleet.clock.now += 10
    fleet.registry.set_trust("a", trusted(fleet.now), fleet.now)
    assert fleet.registry.look(request(), fleet.now).rejections == {Reason.MODEL_UNVERIFIED: 1}
    fleet.registry.set_trust("a", trusted(fleet.now, model_hashes={"m": "H"}), fleet.now)
    assert fleet.registry.look(request(), fleet.now).candidates == 1


def test_fence_of_unconfirmed_weights_ends_with_their_eviction() -> None:
    fleet = Fleet(catalog=[CatalogEntry(id="m", weight_hash="H")])
    fleet.connect("a", message=register_message(ModelEntry(id="m", weight_hash="H")))
    fleet.beat("a", wire_slot())
    fleet.registry.set_trust("a", trusted(fleet.now + 1), fleet.now)
    assert fleet.registry.look(request(), fleet.now).rejections == {Reason.MODEL_UNVERIFIED: 1}
    fleet.beat("a")
    assert fleet.registry.look(request(), fleet.now).candidates == 1


def test_every_change_of_a_session_moves_its_version(fleet: Fleet) -> None:
    session = fleet.warm("a")
    seen = [session.version]
    held = fleet.registry.choose_and_reserve(request(), fleet.now).reservation
    assert held is not None
    seen.append(session.version)
    held.release(fleet.now)
    seen.append(session.version)
    fleet.beat("a", wire_slot())
    seen.append(session.version)
    slow = session.slow_version
    fleet.registry.set_trust("a", trusted(), fleet.now)
    seen.append(session.version)
    assert len(set(seen)) == 5
    assert session.slow_version == slow + 1


def test_auditor_reports_and_heals(fleet: Fleet) -> None:
    fleet.warm("a")
    alive, dead, unbound = (
        fleet.registry.choose_and_reserve(request(number), fleet.now).reservation for number in (1, 2, 3)
    )
    assert alive is not None
    assert dead is not None
    assert unbound is not None
    alive.bind_owner(lambda: True)
    dead.bind_owner(lambda: False)
    assert fleet.registry.audit(fleet.now + 59) == ()
    findings = fleet.registry.audit(fleet.now + 60)
    assert [(one.request_id, one.released) for one in findings] == [("r2", True), ("r3", False)]
    assert (alive.released, dead.released, unbound.released) == (False, True, False)


def test_numbered_report_reflects_only_requests_it_can_know(fleet: Fleet) -> None:
    session = fleet.warm("a", budget=1_000)
    held = fleet.registry.choose_and_reserve(request(max_tokens=400), fleet.now).reservation
    assert held is not None
    fleet.beat("a", wire_slot(active_token_budget_max=1_000, active_token_budget_used=500), seq=1)
    assert fleet.registry.look(request(2), fleet.now).rejections == {Reason.FREE_MEMORY: 1}
    held.mark_streaming(fleet.now)
    fleet.clock.now += 5
    fleet.beat("a", wire_slot(active_token_budget_max=1_000, active_token_budget_used=500), seq=2)
    assert session.ledger.sums("m").unreflected == 0
    assert fleet.registry.look(request(2), fleet.now).candidates == 1


def two_running(fleet: Fleet) -> tuple[Session, list[Reservation]]:
    """A machine with two requests that stream, five seconds before its next report."""
    session = fleet.warm("a", budget=10_000)
    held = []
    for number in (1, 2):
        one = fleet.registry.choose_and_reserve(request(number), fleet.now).reservation
        assert one is not None
        one.mark_streaming(fleet.now)
        held.append(one)
    fleet.clock.now += 5
    return session, held


@pytest.mark.parametrize(("numbered", "rejections"), [(True, {}), (False, {Reason.NO_HEADROOM: 1})])
def test_a_place_that_ends_is_free_before_the_next_report(
    fleet: Fleet, numbered: bool, rejections: dict[Reason, int]
) -> None:
    session, held = two_running(fleet)
    full = wire_slot(
        state="running", num_running=3, max_concurrency=3, active_token_budget_max=10_000, active_token_budget_used=600
    )
    fleet.beat("a", full, seq=int(numbered))
    assert fleet.registry.look(request(3), fleet.now).rejections == {Reason.NO_HEADROOM: 1}
    held[0].release(fleet.now)
    assert fleet.registry.look(request(3), fleet.now).rejections == rejections
    assert in_flight(session, "m") == 3 - numbered
    fleet.clock.now += 5
    fleet.beat("a", full, seq=2 * numbered)  # the machine took one of its owner meanwhile
    assert fleet.registry.look(request(3), fleet.now).rejections == {Reason.NO_HEADROOM: 1}


def test_what_ends_makes_room_beside_a_local_request_for_no_more_than_ended(fleet: Fleet) -> None:
    session, held = two_running(fleet)
    full = wire_slot(state="running", num_running=3, max_concurrency=3, active_token_budget_max=10_000)
    fleet.beat("a", full, seq=1)  # one of them its owner's
    for one in held:
        one.release(fleet.now)
    found = [fleet.registry.choose_and_reserve(request(number), fleet.now).reservation for number in (3, 4, 5)]
    assert [one is not None for one in found] == [True, True, False]
    assert (in_flight(session, "m"), in_flight_total(session)) == (3, 3)
    fleet.clock.now += 5
    fleet.beat("a", full, seq=2)  # which counts them before their first content
    assert (in_flight(session, "m"), in_flight_total(session)) == (3, 3)


def test_a_report_that_hides_what_ended_makes_no_machine_emptier_than_empty(fleet: Fleet) -> None:
    session = fleet.warm("a")
    held = fleet.registry.choose_and_reserve(request(), fleet.now).reservation
    assert held is not None
    held.mark_streaming(fleet.now)
    fleet.clock.now += 5
    fleet.beat("a", wire_slot(num_running=0), seq=1)
    held.release(fleet.now)
    assert (in_flight(session, "m"), in_flight_total(session)) == (0, 0)


@given(st.lists(st.sampled_from(["release", "exit", "disconnect", "audit", "sign", "beat"]), max_size=12))
def test_however_a_request_ends_its_place_is_freed_once(events: list[str]) -> None:
    fleet = Fleet()
    session = fleet.warm("a", concurrency=1)
    held = fleet.registry.choose_and_reserve(request(1), fleet.now).reservation
    assert held is not None
    held.bind_owner(lambda: "audit" not in events)
    waiting = fleet.registry.decide(request(2), fleet.now)
    assert isinstance(waiting, Enqueue)
    woken: list[str] = []
    fleet.registry.enqueue(request(2), waiting.decision, now=fleet.now, wake=lambda: woken.append("next"))
    actions = {
        "release": lambda: held.release(fleet.now),
        "exit": lambda: held.__exit__(None, None, None),
        "disconnect": lambda: fleet.registry.disconnect("a", fleet.now, graceful=False),
        "audit": lambda: fleet.registry.audit(fleet.now + 60),
        "sign": lambda: held.mark_streaming(fleet.now),
        "beat": lambda: fleet.beat("a", wire_slot(max_concurrency=1, active_token_budget_max=100_000)),
    }
    ends = [event for event in events if event in {"release", "exit", "disconnect", "audit"}]
    for event in events:
        actions[event]()
    assert held.released is bool(ends)
    assert woken == (["next"] if ends else [])
    alive = "disconnect" not in events
    assert len(session.ledger) == (1 if alive else 0)
    assert session.ledger.by_model == session.ledger.recount()


@pytest.mark.parametrize(("latencies", "milliseconds"), [((900.0,), 2_000), ((4_600.0,), 25_000)])
def test_slow_routing_lengthens_retry_after(fleet: Fleet, latencies: tuple[float, ...], milliseconds: int) -> None:
    for latency in latencies:
        fleet.registry.note_route_latency(latency)
    assert fleet.registry.retry_after_ms("m", fleet.now) == milliseconds


def invented(fleet: Fleet, *, trust: TrustState) -> None:
    """Peers that offer more names than the memory of names holds."""
    for peer in range(4):
        models = [ModelEntry(id=f"junk-{peer}-{number}") for number in range(1_024)]
        fleet.connect(f"bad{peer}", message=register_message(*models), trust=trust)


def test_peers_that_proved_nothing_cannot_crowd_out_a_served_model_or_make_names_known(fleet: Fleet) -> None:
    fleet.warm("a")
    invented(fleet, trust=trusted(admitted=False))
    assert fleet.registry.catalog.knows("m")
    assert not fleet.registry.catalog.knows("junk-3-1")
    assert [row.id for row in fleet.registry.capacity(fleet.now)] == ["m"]
    fleet.registry.disconnect("a", fleet.now, graceful=True)
    assert fleet.registry.catalog.knows("m")


def test_a_served_model_stays_known_whatever_trusted_peers_advertise(fleet: Fleet) -> None:
    fleet.warm("a")
    invented(fleet, trust=trusted())
    assert fleet.registry.catalog.knows("m")
    fleet.registry.disconnect("a", fleet.now, graceful=True)
    assert not fleet.registry.catalog.knows("m")


def test_models_become_known_when_their_provider_has_proved_itself(fleet: Fleet) -> None:
    fleet.connect("a", trust=trusted(admitted=False))
    assert not fleet.registry.catalog.knows("m")
    assert fleet.registry.trusted_sessions() == ()
    fleet.registry.set_trust("a", trusted(), fleet.now)
    assert fleet.registry.catalog.knows("m")
    assert fleet.registry.trusted_sessions() == tuple(fleet.registry.sessions())


def test_a_machine_below_the_floor_is_not_published_but_its_model_is_known(fleet: Fleet) -> None:
    fleet.connect("a", trust=trusted(level="none"))
    assert fleet.registry.catalog.knows("m")
    assert fleet.registry.trusted_sessions() == ()
