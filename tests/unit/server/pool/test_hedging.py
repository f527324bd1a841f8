"""What counts as idle for a backup: places of warm machines other than the one that is waited for."""

from __future__ import annotations

from server.pool import FleetHedging
from server.relay.hedge import HedgeTicket, HedgeVerdict, IdlePlaces
from tests.unit.server.registry.fleet import Fleet, request


def idle(fleet: Fleet, primary: str) -> IdlePlaces:
    session = fleet.registry.session(primary)
    assert session is not None
    return FleetHedging(fleet.registry).idle_besides("m", session)


def test_the_own_places_of_the_first_machine_do_not_count(fleet: Fleet) -> None:
    fleet.warm("primary", concurrency=4)
    held = fleet.registry.choose_and_reserve(request(), fleet.now).reservation
    assert held is not None
    assert idle(fleet, "primary") == IdlePlaces(slots=0, alternative=False)
    fleet.warm("other", concurrency=3)
    assert idle(fleet, "primary") == IdlePlaces(slots=3, alternative=True)


def test_cold_and_unproven_machines_are_no_alternative(fleet: Fleet) -> None:
    fleet.warm("primary", concurrency=1)
    fleet.connect("cold")
    fleet.beat("cold", free_for_load=60.0)
    fleet.warm("stale")
    fleet.registry.mark_draining("stale", fleet.now)
    fleet.registry.choose_and_reserve(request(excluded_sessions=frozenset({"cold"})), fleet.now)
    assert idle(fleet, "primary") == IdlePlaces(slots=0, alternative=False)


def test_claims_follow_the_fleet(fleet: Fleet) -> None:
    hedging = FleetHedging(fleet.registry)
    primary = fleet.warm("primary", concurrency=1)
    fleet.registry.choose_and_reserve(request(), fleet.now)
    assert hedging.claim("m", primary, fleet.now) is HedgeVerdict.SUPPRESS_NO_IDLE_CAPACITY
    assert hedging.claim("gone", primary, fleet.now) is HedgeVerdict.SUPPRESS_NO_IDLE_CAPACITY
    fleet.warm("other", concurrency=1)
    ticket = hedging.claim("m", primary, fleet.now)
    assert isinstance(ticket, HedgeTicket)
    assert hedging.claim("m", primary, fleet.now) is HedgeVerdict.SUPPRESS_GLOBAL_BUDGET
