"""The waiting task: assignment, its own timer, cancellation in the same tick, a provider that goes meanwhile."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from server.registry import Enqueue, QueueFailure, Registry, Reservation, wait_in_queue
from tests.unit.server.registry.fleet import Fleet, request


class Waiting(Fleet):
    """A fleet on trio's clock with one busy provider."""

    def __init__(self) -> None:
        super().__init__()
        self.clock.now = trio.current_time()
        self.registry = Registry(clock=trio.current_time, policy=self.registry.policy)
        self.session = self.warm("a", concurrency=1)
        held = self.registry.choose_and_reserve(request(0), trio.current_time()).reservation
        assert held is not None
        self.held = held
        self.results: list[Reservation | QueueFailure] = []

    async def wait(self, number: int) -> None:
        asked = request(number)
        verdict = self.registry.decide(asked, trio.current_time())
        assert isinstance(verdict, Enqueue)
        self.results.append(await wait_in_queue(self.registry, asked, verdict.decision))


async def test_waiter_gets_the_freed_place(autojump_clock: MockClock) -> None:
    fleet = Waiting()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fleet.wait, 1)
        await wait_all_tasks_blocked()
        fleet.held.release()
    (result,) = fleet.results
    assert isinstance(result, Reservation)
    assert list(fleet.session.ledger.entries.values()) == [result]


async def test_wait_ends_after_two_minutes(autojump_clock: MockClock) -> None:
    fleet = Waiting()
    start = trio.current_time()
    await fleet.wait(1)
    assert fleet.results == [QueueFailure.TIMED_OUT]
    assert trio.current_time() - start == pytest.approx(120)
    assert fleet.registry.queue_depth("m") == 0
    assert len(fleet.session.ledger) == 1


async def test_cancelled_in_the_tick_of_its_assignment(autojump_clock: MockClock) -> None:
    fleet = Waiting()
    async with trio.open_nursery() as nursery, trio.open_nursery() as first:
        first.start_soon(fleet.wait, 1)
        await wait_all_tasks_blocked()
        nursery.start_soon(fleet.wait, 2)
        await wait_all_tasks_blocked()
        first.cancel_scope.cancel()
        fleet.held.release()
    (result,) = fleet.results
    assert isinstance(result, Reservation)
    assert result.request_id == "r2"
    assert len(fleet.session.ledger) == 1


async def test_cancelled_while_waiting_leaves_nothing(autojump_clock: MockClock) -> None:
    fleet = Waiting()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fleet.wait, 1)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert fleet.registry.queue_depth("m") == 0
    fleet.held.release()
    assert len(fleet.session.ledger) == 0


async def test_assignment_at_the_moment_of_the_timeout_counts(autojump_clock: MockClock) -> None:
    fleet = Waiting()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fleet.wait, 1)
        await wait_all_tasks_blocked()
        await trio.sleep(119.999)
        fleet.held.release()
        autojump_clock.jump(1)
    assert isinstance(fleet.results[0], Reservation)


async def test_provider_that_goes_after_the_assignment_is_replaced(autojump_clock: MockClock) -> None:
    fleet = Waiting()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fleet.wait, 1)
        await wait_all_tasks_blocked()
        fleet.held.release()
        fleet.registry.disconnect("a", trio.current_time(), graceful=False)
        fleet.clock.now = trio.current_time()
        other = fleet.warm("b", concurrency=1)
    (result,) = fleet.results
    assert isinstance(result, Reservation)
    assert list(other.ledger.entries.values()) == [result]


async def test_wait_without_any_provider_left_fails_fast(autojump_clock: MockClock) -> None:
    fleet = Waiting()
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fleet.wait, 1)
        await wait_all_tasks_blocked()
        fleet.registry.disconnect("a", trio.current_time(), graceful=False)
    assert fleet.results == [QueueFailure.NO_PROVIDER]
    assert trio.current_time() == start
