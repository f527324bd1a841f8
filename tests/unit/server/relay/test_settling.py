"""The settlement and the end of the answer: which waits for which, and what a broken settlement spoils."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from protocol.api.chat_answer import ChatAnswer
from protocol.api.chat_stream import ChatStream
from server.relay import Answered, Outcome, SilentObserver
from tests.unit.server.relay.relay_world import Consumer, World, error_of, open_world, saying


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


@pytest.mark.parametrize("stream", [True, False])
async def test_a_shutdown_ends_an_answer_that_waits_for_its_settlement(stream: bool, autojump_clock: MockClock) -> None:
    consumer = Consumer()
    outcomes: list[object] = []

    async def ask(world: World) -> None:
        outcomes.append((await world.ask(world.job(stream=stream), consumer))[0])
        outcomes.append(trio.current_time())

    async with trio.open_nursery() as outer:
        async with open_world() as world:
            world.ledger.delay = 5.0
            world.provider("p", saying("x"))
            outer.start_soon(ask, world)
            await trio.sleep(1)
            assert not outcomes
        assert trio.current_time() == 5
    outcome, ended_at = outcomes
    assert ended_at == 1
    assert world.ledger.only.outcome is Outcome.SUCCESS
    if stream:
        assert consumer.events[-1] == "[DONE]"
    else:
        assert isinstance(outcome, Answered)


async def test_a_late_end_that_crashes_harms_only_its_own_request(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    def crash(*_args: object, **_more: object) -> dict[str, object]:
        raise ZeroDivisionError

    async with open_world() as world:
        world.ledger.delay = 20.0
        world.provider("p", saying("x"))
        with monkeypatch.context() as patch:
            patch.setattr(ChatAnswer, "finish", crash)
            outcome, _ = await world.ask(world.job(stream=False))
        assert trio.current_time() == pytest.approx(10)
        assert error_of(outcome).status == 500
        assert (await world.settled()).outcome is Outcome.SUCCESS
        world.ledger.records.clear()
        _, consumer = await world.ask()
        assert consumer.events[-1] == "[DONE]"


async def test_an_end_and_its_error_that_both_crash_harm_only_their_own_request(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    def crash(*_args: object, **_more: object) -> bytes:
        raise ZeroDivisionError

    async with open_world() as world:
        world.ledger.delay = 20.0
        world.provider("p", saying("x"))
        with monkeypatch.context() as patch:
            patch.setattr(ChatStream, "finish", crash)
            patch.setattr(ChatStream, "fail", crash)
            _, consumer = await world.ask()
        assert consumer.text == "x"
        assert consumer.events[-1] != "[DONE]"
        assert (await world.settled()).outcome is Outcome.SUCCESS
        world.ledger.delay = 0.0
        _, consumer = await world.ask()
        assert consumer.events[-1] == "[DONE]"


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
