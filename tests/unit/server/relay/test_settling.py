"""The settlement and the end of the answer: which waits for which, and what a broken settlement spoils."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from server.relay import Outcome, SilentObserver
from tests.unit.server.relay.relay_world import open_world, saying


@pytest.mark.parametrize(
    ("takes", "waited"), [(3.0, 3.0), (1000.0, 10.0)], ids=["settled first", "ten seconds at most"]
)
async def test_the_end_of_an_answer_waits_for_its_settlement(
    takes: float, waited: float, autojump_clock: MockClock
) -> None:
    async with open_world() as world:
        world.ledger.delay = takes
        world.provider("p", saying("x"))
        started = trio.current_time()
        _, consumer = await world.ask()
        assert consumer.events[-1] == "[DONE]"
        assert trio.current_time() - started == pytest.approx(waited)


async def test_a_broken_settlement_breaks_nothing_else(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.ledger.error = ValueError("database")
        world.provider("p", saying("x"))
        for _ in range(2):
            _, consumer = await world.ask()
            assert consumer.events[-1] == "[DONE]"


class _BrokenObserver(SilentObserver):
    def request_ended(self, record: object) -> None:
        raise ZeroDivisionError

    def settlement_failed(self) -> None:
        raise ZeroDivisionError


async def test_a_broken_observer_keeps_no_request_from_its_settlement(autojump_clock: MockClock) -> None:
    async with open_world(observer=_BrokenObserver()) as world:
        world.provider("p", saying("x"))
        for error in (None, ValueError("database")):
            world.ledger.records.clear()
            world.ledger.error = error
            _, consumer = await world.ask()
            assert consumer.events[-1] == "[DONE]"
            assert (await world.settled()).outcome is Outcome.SUCCESS
