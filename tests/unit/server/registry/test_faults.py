"""What is remembered of failures, and for how long."""

from __future__ import annotations

import pytest

from server.registry import FaultMemory, Reason
from server.registry.faults import IDENTITIES_MAX
from server.registry.pair_faults import NO_FAULTS


def test_failed_load_blocks_the_pair_for_two_minutes() -> None:
    memory = FaultMemory()
    memory.load_failed("d", "m", 0.0)
    assert memory.pair("d", "m", 119.9).rejection("base") is Reason.DISPATCH_LOAD_COOLDOWN
    assert memory.pair("d", "n", 1.0).rejection("base") is None
    assert memory.pair("d", "m", 120.0).rejection("base") is None
    memory.load_failed("d", "m", 200.0)
    memory.success("d", "m", "base", 201.0)
    assert memory.pair("d", "m", 202.0).rejection("base") is None


def test_two_faults_in_a_minute_block_the_shape() -> None:
    memory = FaultMemory()
    memory.error("d", "m", "tools", 500, 0.0)
    assert memory.pair("d", "m", 1.0).rejection("tools") is None
    memory.error("d", "m", "tools", 502, 60.0)
    assert memory.pair("d", "m", 359.0).rejection("tools") is Reason.ERROR_COOLDOWN
    assert memory.pair("d", "m", 61.0).rejection("base") is None
    assert memory.pair("d", "m", 360.0).rejection("tools") is None


@pytest.mark.parametrize(("second", "status"), [(61.0, 500), (1.0, 429), (1.0, 503), (1.0, 400)])
def test_late_or_harmless_errors_are_no_strike(second: float, status: int) -> None:
    memory = FaultMemory()
    memory.error("d", "m", "base", 500, 0.0)
    memory.error("d", "m", "base", status, second)
    assert memory.pair("d", "m", second).rejection("base") is None


def test_success_of_the_shape_clears_its_cooldown() -> None:
    memory = FaultMemory()
    for shape in ("base", "tools"):
        memory.error("d", "m", shape, 500, 0.0)
        memory.error("d", "m", shape, 500, 1.0)
    memory.success("d", "m", "base", 2.0)
    assert memory.pair("d", "m", 3.0).rejection("base") is None
    assert memory.pair("d", "m", 3.0).rejection("tools") is Reason.ERROR_COOLDOWN


@pytest.mark.parametrize(("rejects", "rate"), [(2, 0.0), (3, 0.375)])
def test_capacity_refusals_cost_above_a_quarter(rejects: int, rate: float) -> None:
    memory = FaultMemory()
    for number in range(8):
        if number < rejects:
            memory.capacity_rejected("d", "m", 1.0)
        else:
            memory.accepted("d", "m", 1.0)
    assert memory.pair("d", "m", 2.0).rate == rate
    assert memory.pair("d", "m", 302.0).rate == 0
    assert memory.pair("d", "n", 2.0).rate == 0


def test_seven_outcomes_are_too_few() -> None:
    memory = FaultMemory()
    for _ in range(7):
        memory.capacity_rejected("d", "m", 1.0)
    assert memory.pair("d", "m", 1.0).rate == 0


def test_memory_is_bounded_and_forgets() -> None:
    memory = FaultMemory()
    for number in range(IDENTITIES_MAX + 5):
        memory.load_failed(f"d{number}", "m", 0.0)
    assert len(memory) == IDENTITIES_MAX
    assert memory.pair("d0", "m", 1.0).rejection("base") is None
    memory.load_failed("d9", "m", 500.0)
    memory.sweep(601.0)
    assert len(memory) == 1


def test_the_rate_follows_the_window_and_the_last_256_outcomes() -> None:
    memory = FaultMemory()
    for at in range(8):
        memory.capacity_rejected("d", "m", float(at))
    for at in range(100, 108):
        memory.accepted("d", "m", float(at))
    assert memory.pair("d", "m", 300.0).rate == 0.5
    assert memory.pair("d", "m", 302.5).rate == 5 / 13
    assert memory.pair("d", "m", 310.0).rate == 0.0
    for _ in range(256):
        memory.capacity_rejected("d", "m", 310.0)
    assert memory.pair("d", "m", 310.0).rate == 1.0
    for _ in range(128):
        memory.accepted("d", "m", 311.0)
    assert memory.pair("d", "m", 311.0).rate == 0.5


def against(memory: FaultMemory, *names: str, now: float) -> list[str]:
    """Those of which something is held against the model."""
    return [name for name in names if memory.pair(name, "m", now) is not NO_FAULTS]


def test_only_identities_with_something_against_them_are_asked() -> None:
    memory, names = FaultMemory(), ("good", "strike", "load", "full")
    memory.accepted("good", "m", 0.0)
    memory.error("strike", "m", "base", 500, 0.0)
    assert against(memory, *names, now=0.0) == []
    memory.error("strike", "m", "base", 500, 1.0)
    memory.load_failed("load", "m", 1.0)
    memory.capacity_rejected("full", "m", 1.0)
    assert against(memory, *names, now=1.0) == ["strike", "load", "full"]
    memory.success("strike", "m", "base", 2.0)
    memory.success("full", "m", "base", 2.0)
    assert against(memory, *names, now=2.0) == ["load", "full"]
    memory.sweep(122.0)
    assert against(memory, *names, now=122.0) == ["full"]
    memory.sweep(302.0)
    assert against(memory, *names, now=302.0) == []
    assert len(memory) == 4


def test_a_forgotten_identity_has_nothing_against_it() -> None:
    memory = FaultMemory()
    memory.capacity_rejected("first", "m", 0.0)
    for number in range(IDENTITIES_MAX):
        memory.accepted(f"d{number}", "m", 1.0)
    assert memory.pair("first", "m", 2.0) is NO_FAULTS
