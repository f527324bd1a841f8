"""The money side of the relay: what is reserved first, what each dispatch costs, and that every way out is settled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from protocol.api.errors import ApiError
from server.relay import Answered, Committed, Outcome, Refused
from tests.unit.server.relay.relay_world import MODEL, World, failing, open_world, saying

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from server.relay import RelayJob, RelayOutcome, ServedBy

    Step = Callable[[], Awaitable[None]]

CHEAP, DEAR = "cheap", "dear"


class Purse:
    """Funds that can be slow, refuse, fail, or find a machine too dear; `log` says what was asked, in order."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.served: list[ServedBy] = []
        self.on_admit: Step | None = None
        self.on_dispatch: Step | None = None
        self.dear: set[str | None] = set()

    async def admit(self, job: RelayJob) -> None:
        self.log.append(f"admit {job.coord_request_id}")
        if self.on_admit is not None:
            await self.on_admit()
        self.log.append("admitted")

    async def dispatch(self, job: RelayJob, served_by: ServedBy) -> ApiError | None:
        self.log.append(f"dispatch {served_by.build}")
        self.served.append(served_by)
        if self.on_dispatch is not None:
            await self.on_dispatch()
        if served_by.account_id in self.dear:
            return ApiError(402, "provider_error", "Too dear.")
        return None


def raising(error: Exception) -> Step:
    async def step() -> None:
        await trio.lowlevel.checkpoint()
        raise error

    return step


def pausing(checkpoints: int) -> Step:
    async def step() -> None:
        for _ in range(checkpoints):
            await trio.lowlevel.checkpoint()

    return step


@asynccontextmanager
async def open_purse() -> AsyncIterator[tuple[World, Purse]]:
    purse = Purse()
    async with open_world(funds=purse) as world:
        yield world, purse


def owned(world: World, name: str, account: str | None) -> None:
    """Say whose machine it is."""
    session = world.registry.session(name)
    assert session is not None
    session.ident = msgspec.structs.replace(session.ident, account_id=account)


def refusal_of(outcome: RelayOutcome) -> ApiError:
    assert isinstance(outcome, Refused)
    return outcome.error


async def unpaid(world: World) -> None:
    """Nothing is reserved any more, and the one settlement charges nothing."""
    record = await world.settled()
    assert record.usage is None
    assert world.reserved() == 0


async def test_money_is_reserved_before_a_machine_is_chosen_and_priced_before_it_is_asked(
    autojump_clock: MockClock,
) -> None:
    async with open_purse() as (world, purse):
        channel = world.provider("p", saying("x"))
        owned(world, "p", CHEAP)
        reserved: list[int] = []

        async def look() -> None:
            reserved.append(world.reserved())
            assert channel.seen == []

        purse.on_admit = purse.on_dispatch = look
        outcome, _ = await world.ask()
        assert isinstance(outcome, Committed)
        assert reserved == [0, 1]
        assert purse.log == ["admit coord-1", "admitted", f"dispatch {MODEL}"]
        assert [one.account_id for one in purse.served] == [CHEAP]
        assert purse.served[0].provider_key == channel.keys.public_text
        record = await world.settled()
        assert (record.outcome, record.usage is not None) == (Outcome.SUCCESS, True)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ApiError(402, "insufficient_funds", "No."), Outcome.CLIENT_ERROR),
        (ApiError(503, "service_unavailable", "Away.", retry_after_seconds=5), Outcome.PROVIDER_ERROR),
    ],
    ids=["402", "503"],
)
async def test_a_refused_admission_asks_nobody_and_settles_once(
    error: ApiError, outcome: Outcome, stream: bool, autojump_clock: MockClock
) -> None:
    async with open_purse() as (world, purse):
        channel = world.provider("p", saying("x"))
        purse.on_admit = raising(error)
        answer, _ = await world.ask(world.job(stream=stream))
        assert refusal_of(answer) is error
        assert channel.seen == []
        assert purse.served == []
        await unpaid(world)
        record = world.ledger.only
        assert (record.outcome, record.status) == (outcome, error.status)
        assert (record.attempts, record.job_id, record.session_id) == (0, None, None)


@pytest.mark.parametrize("where", ["admission", "dispatch"])
async def test_a_fault_of_the_money_side_is_a_500_and_is_settled(where: str, autojump_clock: MockClock) -> None:
    async with open_purse() as (world, purse):
        channel = world.provider("p", saying("x"))
        setattr(purse, {"admission": "on_admit", "dispatch": "on_dispatch"}[where], raising(KeyError("x")))
        answer, _ = await world.ask()
        assert refusal_of(answer).status == 500
        assert channel.seen == []
        await unpaid(world)


@pytest.mark.parametrize("where", ["on_admit", "on_dispatch"])
async def test_a_consumer_who_leaves_while_the_money_side_works_is_settled_without_usage(
    where: str, autojump_clock: MockClock
) -> None:
    async with open_purse() as (world, purse):
        channel = world.provider("p", saying("x"))
        ended: list[str] = []

        async def wait() -> None:
            try:
                await trio.sleep_forever()
            finally:
                ended.append("cancelled")

        setattr(purse, where, wait)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.ask)
            await wait_all_tasks_blocked()
            assert purse.log[-1].startswith("admit coord" if where == "on_admit" else "dispatch")
            nursery.cancel_scope.cancel()
        await unpaid(world)
        assert ended == ["cancelled"]
        assert channel.seen == []
        assert world.ledger.only.outcome is Outcome.CLIENT_GONE


async def test_what_cannot_be_cancelled_is_waited_for_and_then_nobody_is_asked(autojump_clock: MockClock) -> None:
    async with open_purse() as (world, purse):
        channel = world.provider("p", saying("x"))

        async def transaction() -> None:
            with trio.CancelScope(shield=True):
                await trio.sleep(3)

        purse.on_admit = transaction
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.ask)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert world.ledger.records == []  # not before the transaction is over: it decides what there is to release
        await unpaid(world)
        assert channel.seen == []


async def test_a_machine_that_is_too_dear_is_passed_over_without_blame(autojump_clock: MockClock) -> None:
    async with open_purse() as (world, purse):
        machines = {name: world.provider(name, saying("x")) for name in ("a", "b", "c")}
        for name in machines:
            owned(world, name, DEAR)
        owned(world, "b", CHEAP)
        purse.dear = {DEAR}
        for number in range(6):
            outcome, _ = await world.ask(world.job(coord_request_id=f"r{number}"))
            assert isinstance(outcome, Committed)
        assert len(machines["b"].seen) == 6
        assert machines["a"].seen == machines["c"].seen == []
        assert any(one.account_id == DEAR for one in purse.served)
        while world.relay.active:
            await trio.sleep(1)
        assert {record.attempts for record in world.ledger.records} == {1}
        assert world.reserved() == 0
        # They serve at once when the price is right.
        purse.dear = {CHEAP}
        outcome, _ = await world.ask(world.job(coord_request_id="last"))
        assert isinstance(outcome, Committed)
        assert len(machines["a"].seen) + len(machines["c"].seen) == 1


async def test_where_all_are_too_dear_the_answer_is_402(autojump_clock: MockClock) -> None:
    async with open_purse() as (world, purse):
        machines = [world.provider(name, saying("x")) for name in ("a", "b")]
        for name in ("a", "b"):
            owned(world, name, DEAR)
        purse.dear = {DEAR}
        answer, _ = await world.ask()
        assert (refusal_of(answer).status, refusal_of(answer).error_type) == (402, "provider_error")
        assert len(purse.served) == 2
        assert all(machine.seen == [] for machine in machines)
        await unpaid(world)
        assert world.ledger.only.outcome is Outcome.CLIENT_ERROR


async def test_a_machine_that_goes_while_its_price_is_fixed_is_replaced(autojump_clock: MockClock) -> None:
    async with open_purse() as (world, purse):
        machines = {name: world.provider(name, saying("x")) for name in ("a", "b")}

        async def leave() -> None:
            if len(purse.served) == 1:
                gone = next(n for n, m in machines.items() if m.keys.public_text == purse.served[0].provider_key)
                world.registry.disconnect(gone, trio.current_time(), graceful=False)
                purse.log.append(f"gone {gone}")
            await trio.lowlevel.checkpoint()

        purse.on_dispatch = leave
        outcome, _ = await world.ask()
        assert isinstance(outcome, Committed)
        assert len(purse.served) == 2
        gone = next(line for line in purse.log if line.startswith("gone"))[-1]
        assert machines[gone].seen == []
        assert (await world.settled()).session_id == ("b" if gone == "a" else "a")
        assert world.reserved() == 0


async def test_the_only_machine_goes_while_its_price_is_fixed(autojump_clock: MockClock) -> None:
    async with open_purse() as (world, purse):
        channel = world.provider("a", saying("x"))

        async def leave() -> None:
            world.registry.disconnect("a", trio.current_time(), graceful=False)

        purse.on_dispatch = leave
        answer, _ = await world.ask()
        assert refusal_of(answer).status == 429
        assert channel.seen == []
        await unpaid(world)


async def test_another_machine_is_priced_anew_after_a_failure(autojump_clock: MockClock) -> None:
    async with open_purse() as (world, purse):
        script = failing(status_code=500, failure_code="generation_failure", error="x")
        for name in ("a", "b"):
            world.provider(name, script)
            owned(world, name, f"owner-{name}")
        answer, _ = await world.ask()
        assert refusal_of(answer).status == 502
        assert sorted(str(one.account_id) for one in purse.served) == ["owner-a", "owner-b"]
        assert purse.log.count("admitted") == 1
        await unpaid(world)


async def test_a_second_machine_that_is_too_dear_ends_the_request_unpaid(autojump_clock: MockClock) -> None:
    async with open_purse() as (world, purse):
        script = failing(status_code=500, failure_code="generation_failure", error="x")
        for name in ("a", "b"):
            world.provider(name, script)
            owned(world, name, CHEAP)

        async def dearer() -> None:
            if len(purse.served) == 2:
                purse.dear = {CHEAP}

        purse.on_dispatch = dearer
        answer, _ = await world.ask()
        assert refusal_of(answer).status == 402
        await unpaid(world)
        assert world.ledger.only.attempts == 1


async def test_a_database_that_goes_away_before_the_dispatch_frees_the_machine(autojump_clock: MockClock) -> None:
    async with open_purse() as (world, purse):
        channel = world.provider("p", saying("x"))
        purse.on_dispatch = raising(ApiError(503, "service_unavailable", "Away.", retry_after_seconds=5))
        answer, _ = await world.ask()
        assert refusal_of(answer).status == 503
        assert world.reserved() == 0
        assert channel.seen == []
        await unpaid(world)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("checkpoints", range(24))
async def test_a_consumer_may_leave_at_every_moment(checkpoints: int, stream: bool, autojump_clock: MockClock) -> None:
    async with open_purse() as (world, purse):
        purse.on_admit, purse.on_dispatch = pausing(4), pausing(4)
        world.provider("a", failing(status_code=500, failure_code="generation_failure", error="x"))
        world.provider("b", failing(status_code=500, failure_code="generation_failure", error="x"))
        world.provider("c", saying("x", "y"))
        outcomes: list[RelayOutcome] = []

        async def ask() -> None:
            outcomes.append((await world.ask(world.job(stream=stream)))[0])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            for _ in range(checkpoints):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        record = await world.settled()  # exactly one, whatever was under way
        assert world.reserved() == 0
        assert purse.log.count("admit coord-1") <= 1
        if outcomes and isinstance(outcomes[0], Committed | Answered):
            assert record.usage is not None
        else:
            assert record.usage is None or record.outcome in (Outcome.SUCCESS, Outcome.PARTIAL_SUCCESS)
        # The machine is free at once for whoever comes next.
        purse.on_admit = purse.on_dispatch = None
        world.ledger.records.clear()
        following, _ = await world.ask(world.job(coord_request_id="next", stream=stream))
        assert isinstance(following, Committed | Answered | Refused)


@pytest.mark.parametrize("checkpoints", range(1, 17))
async def test_a_relay_that_stops_settles_what_the_money_side_was_at(
    checkpoints: int, autojump_clock: MockClock
) -> None:
    purse = Purse()
    purse.on_admit, purse.on_dispatch = pausing(4), pausing(4)
    worlds: list[World] = []
    async with trio.open_nursery() as outer:

        async def consumer(world: World) -> None:
            answer = await world.relay.run(world.job(stream=False))
            if isinstance(answer, Refused):
                assert answer.error.status == 429

        async with open_world(funds=purse) as world:
            worlds.append(world)
            world.provider("p", saying("x"))
            outer.start_soon(consumer, world)
            for _ in range(checkpoints):
                await trio.lowlevel.checkpoint()
    assert purse.log.count("admit coord-1") == 1
    assert len(worlds[0].ledger.records) == 1
    assert worlds[0].reserved() == 0
