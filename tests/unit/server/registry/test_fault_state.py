"""Breakers, cooldowns, clamps and ceilings: the worked examples of fault memory."""

from __future__ import annotations

import pytest

from server.registry import FaultMemory, Reason
from server.registry.fault_gates import BlackHole, Ceiling, Clamp
from tests.unit.server.registry.fleet import Fleet, request, wire_slot


def refuse(memory: FaultMemory, now: float, times: int = 1, **sized: int) -> None:
    for _ in range(times):
        memory.capacity_rejected("d", "m", now, **sized)


def test_a_sized_refusal_teaches_a_ceiling() -> None:
    memory = FaultMemory()
    refuse(memory, 0.0, need=9_000, committed=40_000, advertised=60_000)
    assert memory.pair("d", "m", 1.0).ceiling == 47_976
    for _ in range(4):
        memory.accepted("d", "m", 2.0, advertised=60_000)
    assert memory.pair("d", "m", 2.0).ceiling == 59_970
    for _ in range(4):
        memory.accepted("d", "m", 3.0, advertised=60_000)
    assert memory.pair("d", "m", 3.0).ceiling is None


def test_a_ceiling_only_tightens_and_ends_after_ten_minutes() -> None:
    ceiling = Ceiling()
    ceiling.rejected(40_000, 9_000, 60_000, 0.0)
    ceiling.rejected(50_000, 5_000, 60_000, 100.0)
    assert ceiling.value(100.0) == 47_976
    ceiling.rejected(10_000, 5_000, 60_000, 200.0)
    assert ceiling.value(200.0) == 13_976
    assert ceiling.value(799.9) == 13_976
    assert ceiling.value(800.0) is None
    ceiling.rejected(100, 100, 60_000, 900.0)
    assert ceiling.value(900.0) == 1_024


def test_a_refusal_above_what_is_advertised_teaches_nothing() -> None:
    ceiling = Ceiling()
    ceiling.rejected(60_000, 9_000, 60_000, 0.0)
    assert ceiling.value(0.0) is None


def test_black_hole_needs_five_refusals_without_an_accept() -> None:
    memory = FaultMemory()
    refuse(memory, 0.0, 4)
    memory.accepted("d", "m", 1.0)
    refuse(memory, 2.0, 4)
    assert memory.pair("d", "m", 2.0).rejection("base") is None
    refuse(memory, 3.0)
    assert memory.pair("d", "m", 122.9).rejection("base") is Reason.CAPACITY_COOLDOWN
    assert memory.pair("d", "m", 123.0).rejection("base") is None
    assert memory.pair("d", "m", 123.0).probe


def test_a_refused_probe_closes_twice_as_long_and_others_wait_for_it() -> None:
    hole = BlackHole()
    for _ in range(5):
        hole.rejected(0.0)
    assert hole.closed(119.9)
    assert hole.wants_probe(120.0)
    hole.reserved(120.0)
    assert hole.closed(149.9)
    assert not hole.wants_probe(149.9)
    hole.rejected(150.0)
    assert hole.closed(389.9)
    assert not hole.closed(390.0)
    for number in range(4):
        hole.rejected(1_000.0 * (number + 1))
    assert hole.closed(4_599.9)
    assert not hole.closed(4_600.0)
    hole.accepted()
    assert not hole.wants_probe(4_600.0)


def test_a_probe_without_outcome_frees_the_place_after_half_a_minute() -> None:
    hole = BlackHole()
    for _ in range(5):
        hole.rejected(0.0)
    hole.reserved(120.0)
    assert not hole.closed(150.0)
    assert hole.wants_probe(150.0)


def test_five_refusals_over_more_than_a_minute_are_none() -> None:
    hole = BlackHole()
    for number in range(5):
        hole.rejected(number * 16.0)
    assert not hole.closed(64.0)


@pytest.mark.parametrize(("free", "at", "clamped"), [(None, 299.9, True), (None, 300.0, False), (1_023, 100.0, True)])
def test_a_clamp_ends_by_itself_after_five_minutes(free: int | None, at: float, clamped: bool) -> None:
    clamp = Clamp()
    clamp.engage(0.0)
    if free is not None:
        clamp.reported(free, 5.0)
    assert clamp.engaged(at) is clamped


def test_a_clamp_wants_room_and_a_later_accept() -> None:
    clamp = Clamp()
    clamp.engage(0.0)
    clamp.accepted()
    assert clamp.engaged(1.0)
    clamp.reported(2_000, 5.0)
    assert clamp.engaged(6.0)
    clamp.accepted()
    assert not clamp.engaged(6.0)


def test_a_machine_that_serves_nothing_is_tried_again_after_half_a_minute() -> None:
    clamp = Clamp()
    clamp.engage(0.0)
    clamp.reported(2_000, 5.0)
    clamp.reported(2_000, 30.0)
    assert clamp.engaged(34.9)
    assert not clamp.engaged(35.0)


def test_not_loaded_counts_for_the_black_hole_alone() -> None:
    memory = FaultMemory()
    for _ in range(5):
        memory.capacity_rejected("d", "m", 0.0, need=10, committed=0, advertised=60_000, not_loaded=True)
    found = memory.pair("d", "m", 1.0)
    assert found.capacity_cooldown
    assert (found.clamped, found.ceiling, found.rate) == (False, None, 0.0)


def test_five_faults_in_a_row_open_the_breaker_and_it_doubles() -> None:
    memory = FaultMemory()
    for number in range(5):
        memory.error("d", f"m{number}", "base", 500, 0.0)
    assert memory.pair("d", "other", 59.9).rejection("base") is Reason.BREAKER
    assert memory.pair("d", "other", 59.9).rejection("base", ignore_health=True) is None
    assert memory.pair("d", "other", 60.0).rejection("base") is None
    memory.error("d", "m9", "base", 500, 60.0)
    assert memory.pair("d", "other", 179.9).rejection("base") is Reason.BREAKER
    assert memory.pair("d", "other", 180.0).rejection("base") is None
    memory.success("d", "m9", "base", 181.0)
    memory.error("d", "m9", "base", 500, 182.0)
    assert memory.pair("d", "other", 183.0).rejection("base") is None


def test_a_large_share_of_faults_opens_the_breaker_too() -> None:
    memory = FaultMemory()
    for number in range(20):
        if number % 5 == 4:
            memory.success("d", "m", "base", 0.0)
        else:
            memory.error("d", f"m{number}", "base", 500, 0.0)
    # 4 of 5 failed, never five in a row: not more than 80 %.
    assert memory.pair("d", "other", 1.0).rejection("base") is None
    for number in range(4):
        memory.error("d", f"n{number}", "base", 500, 2.0)
    assert memory.pair("d", "other", 3.0).rejection("base") is Reason.BREAKER


def test_eight_failures_eject() -> None:
    memory = FaultMemory()
    for number in range(8):
        memory.error("d", f"m{number}", "base", 500, number * 50.0)
    # The breaker's hold is longer than the first one of the ejection; with it ignored nothing is left.
    assert memory.pair("d", "other", 355.0).rejection("base") is Reason.BREAKER
    kinds = [event.kind for event in memory.events("d")]
    assert kinds == ["fault"] * 8


def test_ten_refusals_in_a_row_eject_whatever_the_models() -> None:
    memory = FaultMemory()
    for number in range(10):
        memory.capacity_rejected("d", f"m{number}", 0.0)
    assert memory.pair("d", "other", 59.9).rejection("base") is Reason.EJECTION
    assert memory.pair("d", "other", 60.0).rejection("base") is None


def test_two_faults_of_one_shape_leave_the_other_alone() -> None:
    memory = FaultMemory()
    memory.error("d", "m", "tools", 500, 0.0)
    memory.error("d", "m", "tools", 500, 1.0)
    found = memory.pair("d", "m", 2.0)
    assert found.error_shapes == {"tools"}
    assert memory.pair("d", "m", 2.0).rejection("base") is None


def test_a_new_version_forgives_lost_connections_once_in_ten_minutes() -> None:
    memory = FaultMemory()
    memory.version_changed("d", "1.0", 0.0)

    def lose(now: float) -> None:
        for _ in range(2):
            memory.error("d", "m", "base", 502, now, disconnect=True)

    lose(0.0)
    memory.version_changed("d", "1.0", 1.0)
    memory.version_changed("d", "1.1", 2.0)
    assert memory.pair("d", "m", 3.0).rejection("base") is None
    lose(4.0)
    memory.version_changed("d", "1.2", 5.0)
    assert memory.pair("d", "m", 6.0).rejection("base") is Reason.ERROR_COOLDOWN
    memory.version_changed("d", "1.3", 602.0)
    memory.success("d", "other", "base", 602.5)
    memory.error("d", "m", "base", 500, 603.0)
    assert memory.pair("d", "m", 604.0).rejection("base") is None


def test_a_real_fault_is_not_forgiven_by_a_version() -> None:
    memory = FaultMemory()
    memory.error("d", "m", "base", 500, 0.0)
    memory.version_changed("d", "1.0", 0.0)
    memory.error("d", "m", "base", 500, 1.0)
    memory.version_changed("d", "1.1", 2.0)
    assert memory.pair("d", "m", 3.0).rejection("base") is Reason.ERROR_COOLDOWN


def test_a_miss_in_silence_waits_for_a_sign_of_life() -> None:
    memory = FaultMemory()
    for _ in range(2):
        memory.missed("d", "m", "base", 504, 0.0)
    assert memory.silent == {"d"}
    assert memory.pair("d", "other", 1.0).rejection("base") is Reason.BREAKER
    memory.heard("d", 5.0)
    assert memory.silent == set()
    assert memory.pair("d", "other", 5.0).rejection("base") is None
    assert memory.pair("d", "m", 5.0).rejection("base") is Reason.ERROR_COOLDOWN


def test_a_machine_that_slept_comes_back_without_a_stain() -> None:
    memory = FaultMemory()
    for number in range(30):
        memory.missed("d", f"m{number % 3}", "base", 504, float(number))
    for _ in range(10):
        memory.error("d", "m0", "base", 502, 40.0, disconnect=True, connection="socket-1")
    memory.lost("d", 40.0)
    assert memory.silent == set()
    assert [memory.pair("d", f"m{number}", 41.0).rejection("base") for number in range(3)] == [None] * 3
    memory.error("d", "m0", "base", 502, 41.0, disconnect=True, connection="socket-2")
    assert memory.pair("d", "m0", 41.0).rejection("base") is Reason.ERROR_COOLDOWN


def test_a_new_connection_ends_the_silence_of_the_old_one() -> None:
    memory = FaultMemory()
    memory.missed("d", "m", "base", 504, 0.0)
    memory.version_changed("d", "1.0", 1.0)
    assert memory.pair("d", "m", 1.0).rejection("base") is None


def test_flip_at_is_the_next_moment_at_which_an_answer_changes() -> None:
    memory = FaultMemory()
    memory.load_failed("d", "m", 0.0)
    assert memory.pair("d", "m", 1.0).flip_at == 120.0
    memory.error("d", "m", "base", 500, 1.0)
    memory.error("d", "m", "base", 500, 2.0)
    assert memory.pair("d", "m", 3.0).flip_at == 120.0
    after = memory.pair("d", "m", 120.0)
    assert not after.load_cooldown
    assert after.flip_at == 302.0
    assert memory.pair("d", "m", 302.0).rejection("base") is None


def test_every_event_that_may_alter_an_answer_is_told() -> None:
    memory = FaultMemory()
    told: list[str] = []
    memory.on_change = told.append
    memory.error("d", "m", "base", 500, 0.0)
    memory.capacity_rejected("e", "m", 0.0)
    memory.load_failed("f", "m", 0.0)
    memory.probe_taken("e", "m", 1.0)
    memory.reported("e", "m", 5_000, 1.0)
    memory.accepted("e", "m", 1.0)
    assert told == ["d", "e", "f", "e", "e", "e"]
    told.clear()
    memory.sweep(200.0)
    assert told == ["f"]
    memory.sweep(10_000.0)
    assert told == ["f", "e"]


def test_events_are_kept_for_the_owner_and_bounded() -> None:
    memory = FaultMemory()
    memory.load_failed("d", "m", 7.0)
    assert memory.events("d")[0]._asdict() == {"kind": "load_failed", "model": "m", "at": 7.0, "until": 127.0}
    for number in range(100):
        memory.error("d", "m", "base", 500, float(number))
    assert len(memory.events("d")) == 32
    assert memory.events("nobody") == ()


def test_faults_follow_the_machine_to_its_next_connection(fleet: Fleet) -> None:
    fleet.warm("old", stable_id="machine")
    for number in range(5):
        fleet.registry.faults.error("machine", f"x{number}", "base", 500, fleet.now)
    fleet.registry.disconnect("old", fleet.now, graceful=False)
    fleet.warm("new", stable_id="machine")
    fleet.warm("other", concurrency=1)
    taken = fleet.registry.choose_and_reserve(request(1), fleet.now)
    assert taken.session is fleet.registry.session("other")
    found = fleet.registry.look(request(2), fleet.now)
    assert found.rejected(Reason.BREAKER) == 1
    fleet.clock.now += 60.0
    fleet.beat("new", wire_slot(active_token_budget_max=100_000))
    assert fleet.registry.choose_and_reserve(request(3), fleet.now).session is fleet.registry.session("new")
