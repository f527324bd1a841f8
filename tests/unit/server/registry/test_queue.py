"""The queue of each model (acceptance 8)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest

from protocol.messages.from_provider import ModelEntry, ModelsUpdate
from server.registry import (
    CatalogEntry,
    Enqueue,
    FaultMemory,
    QueueFailure,
    Reason,
    Reservation,
    RoutingPolicy,
    SelfRoute,
    Traits,
    Waiter,
)
from server.registry.pair_faults import PairFaults
from server.registry.queue import WaiterState
from tests.unit.server.registry.fleet import Fleet, register_message, request, trusted, wire_slot


class Line:
    """A fleet whose waiters note the order in which they were woken."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.woken: list[str] = []
        self._numbers = count(1_000)

    def push(self, name: str, **fields: object) -> Waiter:
        waiter = self.try_push(name, **fields)
        assert isinstance(waiter, Waiter)
        return waiter

    def try_push(self, name: str, **fields: object) -> Waiter | QueueFailure:
        asked = request(next(self._numbers), **fields)
        verdict = self.fleet.registry.decide(asked, self.fleet.now)
        assert isinstance(verdict, Enqueue)
        return self.fleet.registry.enqueue(asked, verdict.decision, now=self.fleet.now, wake=self._noting(name))

    def _noting(self, name: str) -> Callable[[], None]:
        return lambda: self.woken.append(name)

    def occupy(self, number: int = 1, **fields: object) -> Reservation:
        held = self.fleet.registry.choose_and_reserve(request(number, **fields), self.fleet.now).reservation
        assert held is not None
        return held

    @property
    def depth(self) -> int:
        return self.fleet.registry.queue_depth("m")


@pytest.fixture
def line(fleet: Fleet) -> Line:
    return Line(fleet)


def test_full_queue_refuses(line: Line) -> None:
    line.fleet.warm("a", concurrency=1)
    line.occupy()
    for number in range(32):
        line.push(f"w{number}", account_id=f"account-{number % 4}")
    assert line.try_push("late", account_id="account-9") is QueueFailure.QUEUE_FULL
    assert line.depth == 32


def test_account_may_fill_a_quarter(line: Line) -> None:
    line.fleet.warm("a", concurrency=1)
    line.occupy()
    for number in range(8):
        line.push(f"w{number}")
    assert line.try_push("ninth") is QueueFailure.ACCOUNT_FULL
    line.push("other", account_id="someone")


def test_global_bound() -> None:
    line = Line(Fleet(policy=RoutingPolicy(quality_cap=False, queue_global_max=2)))
    line.fleet.warm("a", concurrency=1)
    line.occupy()
    line.push("one")
    line.push("two")
    assert line.try_push("three") is QueueFailure.QUEUE_FULL


def test_one_slot_serves_the_first_and_the_second_stays_first(line: Line) -> None:
    line.fleet.warm("a", concurrency=1)
    held = line.occupy()
    first, second = line.push("A"), line.push("B")
    held.release(line.fleet.now)
    assert line.woken == ["A"]
    assert (first.state, second.state) == (WaiterState.ASSIGNED, WaiterState.WAITING)
    taken = first.take()
    assert taken is not None
    taken.release(line.fleet.now)
    assert line.woken == ["A", "B"]


def test_small_one_passes_a_large_one_that_does_not_fit(line: Line) -> None:
    session = line.fleet.warm("a", budget=60_000)
    held = line.occupy(prompt_tokens=59_500)
    large = line.push("A", prompt_tokens=50_000)
    line.push("B", prompt_tokens=500)
    small = line.occupy(2, prompt_tokens=100, max_tokens=100)
    small.release(line.fleet.now)
    assert line.woken == []
    rest = line.occupy(3, prompt_tokens=100, max_tokens=100)
    line.fleet.beat("a", wire_slot(active_token_budget_max=60_700))
    assert line.woken == ["B"]
    assert large.state is WaiterState.WAITING
    assert line.depth == 1
    for one in (held, rest):
        one.release(line.fleet.now)
    assert line.woken == ["B", "A"]
    assert len(session.ledger) == 2


def test_pass_tries_no_request_as_large_as_one_that_did_not_fit(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    line.fleet.warm("a", budget=1_000)
    line.occupy(prompt_tokens=800)
    for number in range(6):
        line.push(f"w{number}", prompt_tokens=800 - number % 2, account_id="xyz"[number % 3])
    tried: list[int] = []
    place = line.fleet.registry._room._place

    def placed(*arguments: object) -> object:
        tried.append(arguments[1].need)  # type: ignore[attr-defined]
        return place(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(line.fleet.registry._room, "_place", placed)
    line.fleet.beat("a", wire_slot(active_token_budget_max=1_000))
    assert tried == [900, 899]


def test_five_free_slots_serve_exactly_five_in_one_pass(line: Line) -> None:
    line.fleet.warm("a", concurrency=1)
    line.occupy()
    for number in range(8):
        line.push(f"w{number}")
    line.fleet.beat("a", wire_slot(max_concurrency=6, active_token_budget_max=100_000))
    assert line.woken == ["w0", "w1", "w2", "w3", "w4"]
    assert line.depth == 3


def test_waiter_that_leaves_after_its_assignment_hands_the_place_on(line: Line) -> None:
    session = line.fleet.warm("a", concurrency=1)
    held = line.occupy()
    first = line.push("A")
    line.push("B")
    held.release(line.fleet.now)
    assert first.state is WaiterState.ASSIGNED
    line.fleet.registry.abandon(first)
    line.fleet.registry.abandon(first)
    assert line.woken == ["A", "B"]
    assert len(session.ledger) == 1


def test_waiter_that_leaves_is_skipped(line: Line) -> None:
    line.fleet.warm("a", concurrency=1)
    held = line.occupy()
    gone = line.push("A")
    line.push("B")
    line.fleet.registry.abandon(gone)
    held.release(line.fleet.now)
    assert line.woken == ["B"]


def test_accounts_share_a_model_fairly() -> None:
    line = Line(Fleet(policy=RoutingPolicy(quality_cap=False, queue_max_depth=48)))
    line.fleet.warm("a", concurrency=1, budget=10**6)
    held = line.occupy()
    waiters = {f"X{number}": line.push(f"X{number}", account_id="x", prompt_tokens=3_900) for number in range(10)}
    waiters |= {f"Y{number}": line.push(f"Y{number}", account_id="y", prompt_tokens=400) for number in range(2)}
    for _ in range(6):
        line.fleet.clock.now += 1
        held.release(line.fleet.now)
        taken = waiters[line.woken[-1]].take()
        assert taken is not None
        held = taken
    assert "Y0" in line.woken[:2]
    assert {"Y0", "Y1"} <= set(line.woken[:4])
    assert [name for name in line.woken if name.startswith("X")] == [f"X{number}" for number in range(4)]


def test_equal_requests_of_two_accounts_are_first_come_first_served(line: Line) -> None:
    line.fleet.warm("a", concurrency=1)
    line.occupy()
    for number in range(4):
        line.push(f"w{number}", account_id=f"account-{number % 2}")
    line.fleet.beat("a", wire_slot(max_concurrency=24, active_token_budget_max=100_000))
    assert line.woken == ["w0", "w1", "w2", "w3"]


def test_aged_waiter_goes_first(line: Line) -> None:
    line.fleet.warm("a", concurrency=1)
    held = line.occupy()
    line.push("large", account_id="x", prompt_tokens=50_000)
    line.fleet.clock.now += 61
    line.push("small", account_id="y")
    held.release(line.fleet.now)
    assert line.woken == ["large"]


def test_unchanged_heartbeats_scan_no_fleet(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        line.fleet.warm(name, concurrency=1)
    for number in range(3):
        line.occupy(number)
    for number in range(30):
        line.push(f"w{number}", account_id=f"account-{number % 5}")
    scans: list[str] = []
    tried: list[str] = []
    monkeypatch.setattr("server.registry.reserve.scan", lambda *_: scans.append("scan"))
    monkeypatch.setattr(
        line.fleet.registry._room,
        "_place",
        lambda session, *_: tried.append(session.session_id) or Reason.NO_HEADROOM,
    )
    line.fleet.beat("b", wire_slot(max_concurrency=1, active_token_budget_max=100_000))
    assert scans == []
    assert tried == ["b"]


def test_release_tries_only_the_provider_that_gained_room(line: Line) -> None:
    line.fleet.warm("a", concurrency=1)
    line.fleet.warm("b", concurrency=1)
    holds = {held.session_id: held for held in (line.occupy(1), line.occupy(2))}
    waiter = line.push("A")
    holds["b"].release(line.fleet.now)
    taken = waiter.take()
    assert taken is not None
    assert taken.session_id == "b"


def test_passed_challenge_serves_waiters(line: Line) -> None:
    line.fleet.warm("a", concurrency=1)
    line.occupy()
    line.fleet.warm("new", trust=trusted(verified_at=None))
    line.push("A")
    line.fleet.registry.set_trust("new", trusted(line.fleet.now), line.fleet.now)
    assert line.woken == ["A"]


def test_waiters_fail_at_once_when_the_last_provider_goes(line: Line) -> None:
    line.fleet.warm("a", concurrency=1)
    line.fleet.warm("b", concurrency=1)
    line.occupy(1)
    line.occupy(2)
    waiter = line.push("A")
    line.fleet.registry.disconnect("a", line.fleet.now, graceful=False)
    assert waiter.state is WaiterState.WAITING
    line.fleet.registry.disconnect("b", line.fleet.now, graceful=False)
    assert (waiter.state, waiter.failure) == (WaiterState.FAILED, QueueFailure.NO_PROVIDER)
    assert line.woken == ["A"]
    assert line.depth == 0


def test_waiters_fail_when_the_last_machine_with_their_ability_goes(line: Line) -> None:
    seeing = register_message(ModelEntry(id="m", is_vision=True))
    line.fleet.connect("sees", message=seeing)
    line.fleet.beat("sees", wire_slot(max_concurrency=1, active_token_budget_max=100_000))
    line.fleet.warm("blind", concurrency=1)
    for number in range(2):
        line.occupy(number)
    plain = line.push("plain")
    picture = line.push("picture", traits=Traits(requires_vision=True))
    line.fleet.registry.disconnect("sees", line.fleet.now, graceful=True)
    assert picture.failure is QueueFailure.INCAPABLE
    refusal = line.fleet.registry.queue_refusal(
        picture.request, QueueFailure.INCAPABLE, picture.decision, line.fleet.now
    )
    assert (refusal.status, refusal.code, refusal.retry_after_ms) == (503, "model_unavailable", None)
    assert plain.failure is None


def test_waiters_fail_when_the_model_is_retired(line: Line) -> None:
    line.fleet.warm("a", concurrency=1)
    line.occupy()
    waiter = line.push("A")
    line.fleet.registry.models_update("a", ModelsUpdate(models=(ModelEntry(id="n"),)), line.fleet.now)
    assert waiter.failure is QueueFailure.NO_PROVIDER


def test_waiters_of_a_model_removed_from_the_catalogue_fail_with_404() -> None:
    line = Line(Fleet(catalog=[CatalogEntry(id="m"), CatalogEntry(id="n")]))
    line.fleet.warm("a", concurrency=1, message=register_message(ModelEntry(id="m"), ModelEntry(id="n")))
    line.occupy()
    waiter = line.push("A")
    line.fleet.registry.set_catalog([CatalogEntry(id="n")], line.fleet.now)
    assert waiter.failure is QueueFailure.MODEL_REMOVED


def test_enqueue_sweeps_waiters_whose_time_is_over(line: Line) -> None:
    line.fleet.warm("a", concurrency=1)
    line.occupy()
    for number in range(8):
        line.push(f"w{number}")
    line.fleet.clock.now += 120
    line.fleet.beat("a", wire_slot(max_concurrency=1, active_token_budget_max=100_000))
    line.push("new")
    assert line.woken == [f"w{number}" for number in range(8)]
    assert line.depth == 1


def test_expired_waiter_is_never_assigned(line: Line) -> None:
    line.fleet.warm("a", concurrency=1)
    held = line.occupy()
    expired = line.push("A")
    line.fleet.clock.now += 120
    held.release(line.fleet.now)
    assert expired.state is WaiterState.WAITING
    assert line.woken == []


def test_hopeless_wait_is_refused_at_once(line: Line) -> None:
    line.fleet.warm("a", concurrency=1)
    for number in range(6):
        line.occupy(number).release(line.fleet.now)
        line.fleet.clock.now += 10
    line.occupy(7)
    line.push("A")
    assert line.try_push("B", deadline=line.fleet.now + 1) is QueueFailure.TOO_LONG


def test_degraded_fleet_serves_its_waiters_too() -> None:
    class Broken(FaultMemory):
        def pair(self, stable_id: str, model: str, now: float) -> PairFaults:
            return PairFaults(sick=Reason.BREAKER)

    line = Line(Fleet(fault_view=Broken()))
    line.fleet.warm("a", concurrency=1)
    held = line.occupy()
    line.push("A")
    held.release(line.fleet.now)
    assert line.woken == ["A"]


def test_oldest_age(line: Line) -> None:
    line.fleet.warm("a", concurrency=1)
    line.occupy()
    assert line.fleet.registry.queue_oldest_age("m", line.fleet.now) == 0
    line.push("A")
    line.fleet.clock.now += 7
    line.push("B")
    assert line.fleet.registry.queue_oldest_age("m", line.fleet.now) == 7


def test_owner_only_waiter_does_not_block_others(line: Line) -> None:
    line.fleet.warm("public", concurrency=1)
    line.fleet.warm("mine", concurrency=1, account_id="owner")
    holds = [line.occupy(1), line.occupy(2)]
    owned = line.push("own", account_id="owner", self_route=SelfRoute.EXCLUSIVE)
    line.push("B")
    next(held for held in holds if held.session_id == "public").release(line.fleet.now)
    assert line.woken == ["B"]
    assert owned.state is WaiterState.WAITING
    next(held for held in holds if held.session_id == "mine").release(line.fleet.now)
    assert line.woken == ["B", "own"]


def test_waiter_keeps_its_limit_and_its_decision(line: Line) -> None:
    line.fleet.warm("a", concurrency=1)
    line.occupy()
    waiter = line.push("A")
    assert waiter.expires_at == line.fleet.now + 120
    assert line.push("B", deadline=line.fleet.now + 9).expires_at == line.fleet.now + 9
    assert waiter.decision.capacity_rejections == 1
