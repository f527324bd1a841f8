"""A backup beside a late attempt: who wins, what the other one hears, and that everything is counted once."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import MockClock

from protocol.messages.from_provider import SystemMetrics
from server.pool import FleetHedging
from server.registry.request import SelfRoute
from server.relay import Committed, FreeOfCharge, Outcome, Refused, SilentObserver
from server.relay.hedge import HedgeVerdict
from tests.unit.server.registry.fleet import heartbeat, wire_slot
from tests.unit.server.relay.relay_world import (
    MODEL,
    ROLE,
    STOP,
    FakeChannel,
    Served,
    World,
    delta,
    failing,
    open_world,
    saying,
    silent,
)

if TYPE_CHECKING:
    from protocol.api.errors import ApiError
    from server.relay import RelayJob, ServedBy


class Watcher(SilentObserver):
    """Remembers what was decided about backups."""

    def __init__(self) -> None:
        self.verdicts: list[str] = []
        self.won: list[bool] = []
        self.results: list[str] = []

    def attempt_ended(self, model: str, result: Any) -> None:
        self.results.append(result)

    def hedge_decided(self, model: str, verdict: HedgeVerdict) -> None:
        self.verdicts.append(verdict.value)

    def hedge_ended(self, model: str, *, won: bool) -> None:
        self.won.append(won)


class Purse(FreeOfCharge):
    """Money that remembers which machine is paid; `poor` cannot carry a second machine, `slow` takes its time."""

    def __init__(self, *, poor: bool = False, slow: float = 0.0) -> None:
        self.poor = poor
        self.slow = slow
        self.paid: ServedBy | None = None
        self.backups = 0

    @staticmethod
    def key_of(channel: FakeChannel) -> str:
        return key_of(channel)

    async def dispatch(self, job: RelayJob, served_by: ServedBy) -> ApiError | None:
        self.paid = served_by
        return None

    async def hedge(self, job: RelayJob, served_by: ServedBy) -> Callable[[], None] | None:
        await trio.sleep(self.slow)
        if self.poor:
            return None
        self.backups += 1

        def choose() -> None:
            self.paid = served_by

        return choose


def late(seconds: float, *texts: str, **more: Any) -> Any:
    """A provider whose first content comes after a while."""

    async def script(served: Served) -> None:
        await trio.sleep(seconds)
        await saying(*texts, **more)(served)

    return script


def hedged_world(**limits: Any) -> Any:
    watcher = Watcher()
    return watcher, open_world(observer=watcher, **limits)


def key_of(channel: FakeChannel) -> str:
    return b64encode(channel.public_key).decode()


def arm(world: World) -> FleetHedging:
    """Let the world hedge; the first request must go to the machine named `slow`."""
    hedging = FleetHedging(world.registry)
    object.__setattr__(world.services, "hedging", hedging)
    return hedging


def heat(world: World, name: str, state: str) -> None:
    """Let an idle machine report that it is hot and short of memory: the cooler ones are chosen first."""
    metrics = SystemMetrics(memory_pressure=1.0, thermal_state=state)
    report = heartbeat(wire_slot(active_token_budget_max=1_000_000), system_metrics=metrics)
    world.registry.heartbeat(name, report, trio.current_time())


async def race(world: World, primary: Any, backup: Any, **changes: Any) -> tuple[FakeChannel, FakeChannel, Any, Any]:
    """Ask with `primary` as the machine that is chosen first, and give both channels, the outcome and the consumer."""
    arm(world)
    slow = world.provider("slow", primary)
    fast = world.provider("fast", backup)
    heat(world, "fast", "nominal")
    outcome, consumer = await world.ask(world.job(**changes))
    return slow, fast, outcome, consumer


async def test_a_silent_machine_is_overtaken_by_its_backup(autojump_clock: MockClock) -> None:
    purse = Purse()
    watcher, opened = hedged_world(funds=purse)
    async with opened as world:
        start = trio.current_time()
        # 1,000 tokens: the deadline is 6 s, the backup starts at 3 s.
        slow, fast, outcome, consumer = await race(world, silent, late(1.5, "from the backup"), prompt_tokens=1000)
        assert isinstance(outcome, Committed)
        assert consumer.text == "from the backup"
        assert trio.current_time() - start == pytest.approx(4.5)
        assert slow.log == ["detach", "cancel"]
        assert fast.cancels == []
        record = await world.settled()
        assert (record.job_id, record.session_id, record.attempts) == (outcome.job_id, "fast", 2)
        assert outcome.job_id == fast.seen[0].sink.request_id
        assert record.outcome is Outcome.SUCCESS
        assert world.reserved() == 0
        assert purse.paid is not None
        assert purse.paid.provider_key == key_of(fast)
    assert watcher.verdicts == ["allow"]
    assert watcher.won == [True]
    assert sorted(watcher.results) == ["hedge_lost", "success"]


async def test_where_answers_take_long_the_backup_starts_earlier(autojump_clock: MockClock) -> None:
    _, opened = hedged_world()
    async with opened as world:
        raw: list[float] = []
        calibration = world.registry.calibration
        remember = calibration.predicted

        def predicted(request_id: str, model: str, chip_family: str, raw_ms: float, now: float) -> None:
            raw.append(raw_ms)
            remember(request_id, model, chip_family, raw_ms, now)

        world.provider("warm-up", saying("x"))
        calibration.predicted = predicted  # type: ignore[method-assign]
        await world.ask(world.job(prompt_tokens=1000))
        world.registry.disconnect("warm-up", trio.current_time(), graceful=True)
        calibration.predicted = remember  # type: ignore[method-assign]
        for number in range(60):
            calibration.predicted(f"p{number}", MODEL, "M3", raw[0], 0.0)
            calibration.content(f"p{number}", 4.0)
        start = trio.current_time()
        # 6 s to the deadline, and a backup needs 4 s: it must start 1.5 s after the first machine.
        _, fast, _, consumer = await race(world, silent, late(0.1, "in time"), prompt_tokens=1000)
        assert consumer.text == "in time"
        assert trio.current_time() - start == pytest.approx(1.6, abs=0.05)
        assert len(fast.seen) == 1


async def test_content_in_time_needs_no_backup(autojump_clock: MockClock) -> None:
    watcher, opened = hedged_world()
    async with opened as world:
        _, fast, _, consumer = await race(world, late(2.9, "in time"), saying("never"), prompt_tokens=1000)
        assert consumer.text == "in time"
        assert fast.seen == []
    assert watcher.verdicts == []


async def test_the_first_machine_may_still_win(autojump_clock: MockClock) -> None:
    purse = Purse()
    watcher, opened = hedged_world(funds=purse)
    async with opened as world:
        primary = late(4.0, "slow but first")
        slow, fast, _, consumer = await race(world, primary, late(2.0, "x"), prompt_tokens=1000)
        assert consumer.text == "slow but first"
        assert fast.log == ["detach", "cancel"]
        assert slow.cancels == []
        assert (await world.settled()).session_id == "slow"
        assert purse.paid is not None
        assert purse.paid.provider_key == key_of(slow)
        assert purse.backups == 1
    assert watcher.won == [False]


@pytest.mark.parametrize("seed", range(12))
async def test_winner_and_loser_in_the_same_instant_give_one_stream(seed: int, autojump_clock: MockClock) -> None:
    random = Random(seed)
    gap = random.choice([0.0, 0.0, 0.01])
    watcher, opened = hedged_world()
    async with opened as world:
        slow, fast, outcome, consumer = await race(
            world,
            late(4.0, "aaa", "aaa", pause=random.choice([0.0, 0.02])),
            late(1.0 + gap, "bbb", "bbb", pause=random.choice([0.0, 0.02])),
            prompt_tokens=1000,
        )
        assert isinstance(outcome, Committed)
        assert consumer.text in ("aaaaaa", "bbbbbb")
        assert consumer.events.count("[DONE]") == 1
        record = await world.settled()
        assert record.session_id == ("slow" if consumer.text == "aaaaaa" else "fast")
        assert len(slow.cancels) + len(fast.cancels) == 1
        assert world.reserved() == 0
        assert slow.pending == fast.pending == {}
        assert all(served.shared.dead for served in (*slow.seen, *fast.seen))
    assert watcher.won == [record.session_id == "fast"]


async def test_both_terminals_in_the_same_instant_end_one_request(autojump_clock: MockClock) -> None:
    async def whole(served: Served) -> None:
        await trio.sleep(4.0 if served.channel.session_id == "slow" else 1.0)
        served.say(ROLE)
        served.say(delta("x"))
        served.say(STOP)
        served.complete()

    _, opened = hedged_world()
    async with opened as world:
        await race(world, whole, whole, prompt_tokens=1000)
        assert (await world.settled()).outcome is Outcome.SUCCESS
        assert world.reserved() == 0


async def test_accepted_alone_wins_nothing(autojump_clock: MockClock) -> None:
    async def only_accepts(served: Served) -> None:
        await trio.sleep(0.2)
        served.accept()
        await trio.sleep_forever()

    _, opened = hedged_world()
    async with opened as world:
        _, fast, _, consumer = await race(world, late(3.5, "the primary"), only_accepts, prompt_tokens=1000)
        assert consumer.text == "the primary"
        assert len(fast.cancels) == 1


async def test_preambles_never_mix(autojump_clock: MockClock) -> None:
    async def preamble_only(served: Served) -> None:
        served.say(ROLE)
        await trio.sleep_forever()

    _, opened = hedged_world()
    async with opened as world:
        _, _, outcome, consumer = await race(world, preamble_only, late(0.5, "text"), prompt_tokens=1000)
        assert isinstance(outcome, Committed)
        chunks = [event for event in consumer.events if event != "[DONE]" and event.get("choices")]
        assert sum("role" in chunk["choices"][0]["delta"] for chunk in chunks) == 1


async def test_a_client_error_of_the_backup_is_the_answer_once_the_other_ends(autojump_clock: MockClock) -> None:
    _, opened = hedged_world()
    async with opened as world:
        slow, fast, outcome, _ = await race(
            world, silent, failing(status_code=400, failure_code="invalid_request"), prompt_tokens=1000
        )
        assert isinstance(outcome, Refused)
        assert outcome.error.status == 400
        assert len(slow.seen) + len(fast.seen) == 2
        assert world.reserved() == 0
        assert (await world.settled()).usage is None


async def test_a_failed_first_machine_leaves_the_backup_alone(autojump_clock: MockClock) -> None:
    async def dies(served: Served) -> None:
        await trio.sleep(3.2)
        served.gone()

    watcher, opened = hedged_world()
    async with opened as world:
        _, _, _, consumer = await race(world, dies, late(2.0, "saved"), prompt_tokens=1000)
        assert consumer.text == "saved"
        assert (await world.settled()).attempts == 2
    assert sorted(watcher.results) == ["fault", "success"]
    assert watcher.won == [True]


async def test_both_late_is_one_timeout_and_both_are_cancelled(autojump_clock: MockClock) -> None:
    watcher, opened = hedged_world()
    async with opened as world:
        start = trio.current_time()
        slow, fast, outcome, _ = await race(world, silent, silent, prompt_tokens=1000)
        assert isinstance(outcome, Refused)
        assert (outcome.error.status, outcome.error.reason) == (429, "first_chunk_timeout")
        assert trio.current_time() - start == pytest.approx(6.0)
        assert (len(slow.cancels), len(fast.cancels)) == (1, 1)
        assert world.reserved() == 0
    assert watcher.won == [False]
    assert watcher.results == ["timeout", "timeout"]


async def test_a_consumer_that_leaves_ends_both(autojump_clock: MockClock) -> None:
    watcher, opened = hedged_world()
    async with opened as world:
        with trio.move_on_after(4.0):
            await race(world, silent, silent, prompt_tokens=1000)
        assert world.reserved() == 0
        slow, fast = world.channels["slow"], world.channels["fast"]
        assert (len(slow.cancels), len(fast.cancels)) == (1, 1)
        assert (await world.settled()).outcome is Outcome.CLIENT_GONE
    assert watcher.won == []


async def test_a_shutdown_ends_both(autojump_clock: MockClock) -> None:
    _, opened = hedged_world()
    async with opened as world:
        world.nursery.start_soon(race, world, silent, silent)
        await trio.sleep(4.0)
    assert world.reserved() == 0
    assert world.ledger.only.usage is None


async def test_no_money_for_a_second_machine_means_no_backup(autojump_clock: MockClock) -> None:
    watcher, opened = hedged_world(funds=Purse(poor=True))
    async with opened as world:
        _, fast, _, consumer = await race(world, late(4.0, "alone"), saying("x"), prompt_tokens=1000)
        assert consumer.text == "alone"
        assert fast.seen == []
        assert world.reserved() == 0
    assert watcher.won == []


async def test_content_while_the_money_is_counted_wins_at_once(autojump_clock: MockClock) -> None:
    watcher, opened = hedged_world(funds=Purse(slow=50.0))
    async with opened as world:
        start = trio.current_time()
        _, fast, _, consumer = await race(world, late(4.0, "first"), saying("x"), prompt_tokens=1000)
        assert consumer.text == "first"
        assert trio.current_time() - start == pytest.approx(4.0)
        assert fast.seen == []
        assert world.reserved() == 0
    assert watcher.won == []


async def test_a_backup_that_vanishes_while_the_money_is_counted_harms_nobody(autojump_clock: MockClock) -> None:
    _, opened = hedged_world(funds=Purse(slow=0.5))
    async with opened as world:

        async def vanish() -> None:
            await trio.sleep(3.2)
            world.registry.disconnect("fast", trio.current_time(), graceful=False)

        world.nursery.start_soon(vanish)
        _, fast, _, consumer = await race(world, late(4.5, "here"), saying("x"), prompt_tokens=1000)
        assert consumer.text == "here"
        assert fast.seen == []
        assert world.reserved() == 0


async def test_at_most_one_backup_for_a_request(autojump_clock: MockClock) -> None:
    watcher, opened = hedged_world()
    async with opened as world:
        world.provider("third", late(0.1, "third"))
        heat(world, "third", "serious")

        async def fails_late(served: Served) -> None:
            await trio.sleep(3.1)
            served.gone()

        await race(world, fails_late, failing(status_code=500), prompt_tokens=1000)
        await world.settled()
    assert watcher.verdicts == ["allow"]


async def test_own_machine_first_is_not_hedged(autojump_clock: MockClock) -> None:
    watcher, opened = hedged_world()
    async with opened as world:
        _, _, _, consumer = await race(
            world,
            late(4.0, "mine"),
            saying("x"),
            prompt_tokens=1000,
            account_id="owner",
            self_route=SelfRoute.PREFER,
        )
        assert consumer.text in ("mine", "x")
    assert watcher.verdicts == []


async def test_a_queue_suppresses(autojump_clock: MockClock) -> None:
    watcher, opened = hedged_world()
    async with opened as world:
        arm(world)
        world.provider("only", late(3.5, "one"), concurrency=1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.ask, world.job(coord_request_id="coord-1"))
            await trio.sleep(1)
            nursery.start_soon(world.ask, world.job(coord_request_id="coord-2"))
            await trio.sleep(3)
            nursery.cancel_scope.cancel()
    assert watcher.verdicts[0] == "suppress_queued"


async def test_hedged_attempts_calibrate_nothing(autojump_clock: MockClock) -> None:
    _, opened = hedged_world()
    async with opened as world:
        await race(world, silent, late(0.5, "x"), prompt_tokens=1000)
        await world.settled()
        assert world.registry.calibration.q90_ms(MODEL, 1.0) is None
        assert not world.registry.calibration._ratios
