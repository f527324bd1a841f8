"""Things that happen in the same tick, under many orders of the scheduler: nothing is lost, nothing is done twice."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import MockClock

from server.relay import Committed, FreeOfCharge, Outcome, Refused
from tests.unit.server.relay.relay_world import Served, open_world, saying
from tests.unit.server.relay.test_race import Watcher, arm, late, race

if TYPE_CHECKING:
    from protocol.api.errors import ApiError
    from server.relay import RelayJob, ServedBy

SEEDS = range(12)


@pytest.fixture(autouse=True)
def order(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the scheduler draw the order of each batch of tasks from the test's seed."""
    monkeypatch.setattr("trio._core._run._r", Random(request.getfixturevalue("seed")))


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_waiter_is_cancelled_in_the_tick_of_its_assignment(seed: int, autojump_clock: MockClock) -> None:
    async with open_world() as world:
        channel = world.provider("p", late(2.0, "x"), concurrency=1)
        outcomes: dict[str, Any] = {}

        async def ask(name: str, leaves_after: float | None = None) -> None:
            with trio.move_on_after(leaves_after if leaves_after is not None else 500):
                outcomes[name], _ = await world.ask(world.job(coord_request_id=name, account_id=name))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "first")
            await trio.sleep(0.5)
            # The first one ends at 2.0 s; this waiter leaves at the same moment, and the next one is to be served.
            nursery.start_soon(ask, "leaves", 1.5)
            await trio.sleep(0.1)
            nursery.start_soon(ask, "next")
        assert isinstance(outcomes["first"], Committed)
        assert isinstance(outcomes["next"], Committed)
        while world.relay.active:
            await trio.sleep(1)
        assert world.reserved() == 0
        assert world.registry.queue_depth("m") == 0
        assert sorted(record.coord_request_id for record in world.ledger.records) == ["first", "leaves", "next"]
        left = next(one for one in world.ledger.records if one.coord_request_id == "leaves")
        assert left.outcome is Outcome.CLIENT_GONE
        assert len(channel.seen) in (2, 3)


@pytest.mark.parametrize("seed", SEEDS)
async def test_both_racers_finish_together(seed: int, autojump_clock: MockClock) -> None:
    watcher = Watcher()
    async with open_world(observer=watcher) as world:
        slow, fast, outcome, consumer = await race(world, late(4.0, "aaa"), late(1.0, "bbb"), prompt_tokens=1000)
        assert isinstance(outcome, Committed)
        assert consumer.text in ("aaa", "bbb")
        assert consumer.events.count("[DONE]") == 1
        record = await world.settled()
        assert record.usage is not None
        assert record.session_id == ("slow" if consumer.text == "aaa" else "fast")
        assert len(slow.cancels) + len(fast.cancels) == 1
        assert world.reserved() == 0
    assert sorted(watcher.results) == ["hedge_lost", "success"]


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_provider_goes_between_the_choice_and_the_sending(seed: int, autojump_clock: MockClock) -> None:
    class Slow(FreeOfCharge):
        async def dispatch(self, job: RelayJob, served_by: ServedBy) -> ApiError | None:
            await trio.sleep(1.0)
            return None

    async with open_world(funds=Slow()) as world:
        for name in ("a", "b"):
            world.provider(name, saying(name))

        async def vanish() -> None:
            await trio.sleep(1.0)
            for session in list(world.registry.sessions()):
                if len(session.ledger):
                    world.channels[session.session_id].stopped = True
                    world.registry.disconnect(session.session_id, trio.current_time(), graceful=False)

        world.nursery.start_soon(vanish)
        outcome, consumer = await world.ask()
        assert isinstance(outcome, Committed)
        assert consumer.text in ("a", "b")
        assert (await world.settled()).session_id == consumer.text
        assert world.reserved() == 0


@pytest.mark.parametrize("seed", SEEDS)
async def test_the_only_provider_goes_in_the_tick_of_an_assignment(seed: int, autojump_clock: MockClock) -> None:
    async with open_world() as world:

        async def goes(served: Served) -> None:
            await trio.sleep(1.0)
            served.complete()
            world.registry.disconnect("p", trio.current_time(), graceful=True)
            world.channels["p"].stopped = True

        world.provider("p", goes, concurrency=1)
        arm(world)
        outcomes: list[Any] = []

        async def ask(name: str) -> None:
            outcomes.append((await world.ask(world.job(coord_request_id=name)))[0])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "served")
            await trio.sleep(0.1)
            nursery.start_soon(ask, "waits")
        assert isinstance(outcomes[0], Committed)
        assert isinstance(outcomes[1], Refused)
        assert outcomes[1].error.status == 429
        while world.relay.active:
            await trio.sleep(1)
        assert len(world.ledger.records) == 2
        assert world.reserved() == 0
