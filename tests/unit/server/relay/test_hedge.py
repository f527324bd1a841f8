"""When a late request gets a backup: the worked examples of speculative dispatch."""

from __future__ import annotations

import pytest

from server.relay.hedge import (
    HedgeGovernor,
    HedgePolicy,
    HedgeTicket,
    HedgeVerdict,
    IdlePlaces,
    ModelGovernor,
    WinRate,
    hedge_budget,
    speculative_offset,
)

IDLE = IdlePlaces(slots=40, alternative=True)


@pytest.mark.parametrize(("idle", "budget"), [(0, 0), (1, 1), (3, 1), (4, 1), (8, 2), (40, 10)])
def test_budget_is_a_quarter_of_what_is_idle(idle: int, budget: int) -> None:
    assert hedge_budget(idle) == budget


@pytest.mark.parametrize(("q90", "offset"), [(2.0, 3.0), (4.0, 1.5), (7.0, 0.0), (None, 3.0), (0.2, 3.0)])
def test_a_slow_backup_starts_earlier(q90: float | None, offset: float) -> None:
    assert speculative_offset(6.0, q90=q90) == pytest.approx(offset)


def test_a_queue_or_no_idle_machine_suppresses() -> None:
    governor = ModelGovernor(4)
    assert governor.claim(queued=1, idle=IDLE) is HedgeVerdict.SUPPRESS_QUEUED
    assert governor.claim(queued=0, idle=IdlePlaces(1, alternative=False)) is HedgeVerdict.SUPPRESS_NO_IDLE_CAPACITY
    assert governor.claim(queued=0, idle=IdlePlaces(0, alternative=False)) is HedgeVerdict.SUPPRESS_NO_IDLE_CAPACITY
    assert isinstance(governor.claim(queued=0, idle=IdlePlaces(1, alternative=True)), HedgeTicket)
    assert governor.active == 1


def test_the_budget_is_claimed_and_given_back_once() -> None:
    governor = ModelGovernor(4)
    idle = IdlePlaces(8, alternative=True)
    first, second = governor.claim(queued=0, idle=idle), governor.claim(queued=0, idle=idle)
    assert governor.claim(queued=0, idle=idle) is HedgeVerdict.SUPPRESS_GLOBAL_BUDGET
    assert isinstance(first, HedgeTicket)
    assert isinstance(second, HedgeTicket)
    first.done(won=None)
    first.done(won=False)
    assert governor.active == 1
    assert governor.wins.rate is None
    assert isinstance(governor.claim(queued=0, idle=idle), HedgeTicket)


def test_win_rate_example() -> None:
    wins = WinRate()
    expected = [1, 0.8, 0.64, 0.512, 0.4096, 0.32768, 0.262144, 0.209715, 0.167772, 0.134218, 0.107374, 0.085899]
    for number, rate in enumerate(expected):
        assert wins.permits()
        wins.note(won=number == 0)
        assert wins.rate == pytest.approx(rate, abs=1e-6)
    verdicts = [wins.permits() for _ in range(48)]
    assert [number + 1 for number, allowed in enumerate(verdicts) if allowed] == [16, 32, 48]


def test_seven_losses_are_too_few_to_stop() -> None:
    wins = WinRate()
    for _ in range(7):
        wins.note(won=False)
    assert wins.permits()
    wins.note(won=False)
    assert not wins.permits()


def test_models_are_governed_apart_and_their_number_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.relay.hedge.MODELS_MAX", 2)
    governor = HedgeGovernor(HedgePolicy(divisor=1))
    ticket = governor.of("a").claim(queued=0, idle=IDLE)
    assert isinstance(ticket, HedgeTicket)
    kept = governor.of("a")
    governor.of("b")
    governor.of("c")
    assert governor.of("a") is kept
    assert governor.active == 1
    ticket.done(won=True)
    assert governor.active == 0
