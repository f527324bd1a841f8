"""Requests that wait for a machine: in turn, within bounds, and refused when nobody can serve them."""

from __future__ import annotations

import json

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from server.relay import Committed, Outcome
from tests.unit.server.relay.relay_world import MODEL, Served, delta, error_of, open_world, saying, silent


async def test_a_full_fleet_queues_and_serves_in_turn(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.provider("p", saying("one", pause=10), concurrency=1)
        done: list[str] = []

        async def one(name: str) -> None:
            outcome, consumer = await world.ask(world.job(coord_request_id=name, account_id=name))
            assert isinstance(outcome, Committed)
            assert consumer.text == "one"
            done.append(name)

        async with trio.open_nursery() as nursery:
            for name in ("a", "b", "c"):
                nursery.start_soon(one, name)
                await wait_all_tasks_blocked()
        assert done == ["a", "b", "c"]
        assert sorted(record.coord_request_id for record in world.ledger.records) == ["a", "b", "c"]
        assert world.reserved() == 0


async def test_queue_time_is_its_own_segment(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.provider("p", saying("x", pause=4), concurrency=1)
        world.nursery.start_soon(world.ask)
        await wait_all_tasks_blocked()
        outcome, _ = await world.ask(world.job(coord_request_id="second"))
        assert isinstance(outcome, Committed)
        timing = json.loads(outcome.headers["X-Timing"])
        assert timing["queue_us"] == pytest.approx(4_000_000, rel=0.01)
        assert timing["provider_us"] == pytest.approx(4_000_000, rel=0.01)
        assert timing["route_us"] < 1000


async def test_a_full_queue_is_429_at_once_and_settled(autojump_clock: MockClock) -> None:
    async with open_world(policy={"queue_max_depth": 1}) as world:
        world.provider("p", silent, concurrency=1)
        for name in ("running", "waiting"):
            world.nursery.start_soon(world.ask, world.job(coord_request_id=name, account_id=name))
            await wait_all_tasks_blocked()
        started = trio.current_time()
        error = error_of(await world.relay.run(world.job(coord_request_id="third", account_id="third")))
        assert (error.status, error.reason) == (429, "queue_full")
        assert error.retry_after_seconds >= 2
        assert trio.current_time() == started
        await trio.testing.wait_all_tasks_blocked()
        (record,) = [one for one in world.ledger.records if one.coord_request_id == "third"]
        assert (record.outcome, record.attempts, record.job_id) == (Outcome.RATE_LIMITED, 0, None)


async def test_the_queue_wait_ends_with_429(autojump_clock: MockClock) -> None:
    async def endless(served: Served) -> None:
        while served.live:
            served.say(delta("x"))
            await trio.sleep(1)

    async with open_world() as world:
        world.provider("p", endless, concurrency=1)
        world.nursery.start_soon(world.ask, world.job(coord_request_id="first"))
        await wait_all_tasks_blocked()
        started = trio.current_time()
        error = error_of(await world.relay.run(world.job(coord_request_id="second")))
        assert (error.status, error.reason) == (429, "queue_timeout")
        assert trio.current_time() - started == pytest.approx(120)


async def test_leaving_the_queue_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.provider("p", silent, concurrency=1)
        world.nursery.start_soon(world.ask, world.job(coord_request_id="first"))
        await wait_all_tasks_blocked()
        with trio.move_on_after(1):
            await world.relay.run(world.job(coord_request_id="second"))
        await wait_all_tasks_blocked()
        assert world.registry.queue_depth(MODEL) == 0
        (record,) = [one for one in world.ledger.records if one.coord_request_id == "second"]
        assert record.outcome is Outcome.CLIENT_GONE


async def test_an_unknown_model_is_404_and_an_empty_fleet_429(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        assert error_of(await world.relay.run(world.job(build="nope"))).status == 404
        await world.settled()
        world.provider("p", saying("x"))
        world.registry.disconnect("p", trio.current_time(), graceful=True)
        world.ledger.records.clear()
        error = error_of(await world.relay.run(world.job()))
        assert (error.status, error.reason) == (429, "no_provider")
        await world.settled()
