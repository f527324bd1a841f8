"""The rows of the capacity endpoint: proven machines alone, aliases too, made anew every two seconds."""

from __future__ import annotations

from protocol.messages.from_provider import ModelEntry
from server.api.capacity import CapacityBoard
from server.catalog import NOTHING_LISTED, Alias
from server.catalog.book import Snapshot
from server.registry import RoutingPolicy, Waiter
from tests.unit.server.registry.fleet import Fleet, register_message, request, trusted, wire_slot


def board_of(fleet: Fleet, *aliases: Alias) -> CapacityBoard:
    return CapacityBoard(
        fleet.registry, Snapshot(named={one.id: one for one in aliases}) if aliases else NOTHING_LISTED, fleet.clock
    )


def test_only_proven_machines_count() -> None:
    fleet = Fleet()
    board = board_of(fleet)
    fleet.warm("a")
    invented = register_message(ModelEntry(id="m"), ModelEntry(id="invented"))
    fleet.connect("stranger", message=invented, trust=trusted(admitted=False))
    fleet.connect("low", message=invented, trust=trusted(level="self_signed"))
    fleet.connect("private", message=invented, trust=trusted(untrusted="hard"))
    assert [row["id"] for row in board.rows()] == ["m"]
    assert board.rows()[0]["routable_providers"] == 1
    fleet.registry.set_trust("stranger", trusted(), fleet.now)
    assert [row["id"] for row in board.rows()] == ["m"]
    fleet.clock.now += 2
    assert [row["id"] for row in board.rows()] == ["invented", "m"]


def test_the_row_of_the_specification() -> None:
    fleet = Fleet(policy=RoutingPolicy(quality_cap=False))
    fleet.connect("one", message=register_message(decode_tps=90.0))
    slot = wire_slot(
        state="running",
        num_running=2,
        num_waiting=1,
        observed_decode_tps=55.0,
        max_tokens_potential=4_400,
        active_token_budget_max=50_000,
        active_token_budget_used=3_000,
    )
    fleet.beat("one", slot)
    fleet.connect("two", message=register_message(decode_tps=40.0))
    fleet.beat("two", free_for_load=60.0)
    for number in range(3):
        asked = request(number, account_id=f"a{number}")
        decision = fleet.registry.look(asked, fleet.now)
        assert isinstance(fleet.registry.enqueue(asked, decision, now=fleet.now, wake=lambda: None), Waiter)
    (row,) = board_of(fleet).rows()
    assert row == {
        "id": "m",
        "ready": True,
        "can_accept": True,
        "routable_providers": 2,
        "warm_providers": 1,
        "running_providers": 1,
        "cold_providers": 1,
        "active_requests": 3,
        "queued_requests": 3,
        "queue_limit": 32,
        "aggregate_tps": 95.0,
        "estimated_ttft_ms": 80_462,
        "token_budget_remaining": 47_000,
        "token_budget_total": 50_000,
    }


def test_a_machine_at_its_cap_is_not_ready() -> None:
    fleet = Fleet(policy=RoutingPolicy(quality_cap=False))
    fleet.warm("only", concurrency=1)
    assert fleet.registry.choose_and_reserve(request(), fleet.now).reservation is not None
    (row,) = board_of(fleet).rows()
    assert (row["ready"], row["can_accept"], row["warm_providers"]) == (False, False, 1)


def test_an_alias_shows_the_build_that_serves_it() -> None:
    fleet = Fleet(policy=RoutingPolicy(quality_cap=False))
    both = register_message(ModelEntry(id="new"), ModelEntry(id="old"))
    fleet.connect("a", message=both)
    fleet.beat("a", wire_slot("new", max_concurrency=1), wire_slot("old", max_concurrency=4))
    alias = Alias(id="name", desired_build="new", previous_build="old")
    assert [row["id"] for row in board_of(fleet, alias).rows()] == ["name", "new", "old"]
    assert fleet.registry.choose_and_reserve(request(model="new"), fleet.now).reservation is not None
    name, new, old = board_of(fleet, alias).rows()
    assert (new["can_accept"], old["can_accept"]) == (False, True)
    assert {**name, "id": "old"} == old
    assert board_of(fleet, Alias(id="nobody", desired_build="gone")).rows() == [new, old]
