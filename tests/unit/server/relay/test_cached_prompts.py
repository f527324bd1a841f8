"""What answers tell of cached prompts, and what the next request of the conversation makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from protocol.messages.from_provider import SystemMetrics
from server.pool import FleetHedging
from server.registry import PrefixKey
from server.registry.decision import ChoicePath
from server.relay import SilentObserver
from tests.unit.server.registry.fleet import heartbeat, wire_slot
from tests.unit.server.relay.relay_world import ROLE, STOP, World, delta, failing, open_world, saying, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from server.relay import RelayJob
    from tests.unit.server.relay.relay_world import Script, Served

KEYS = (PrefixKey(b"one", 1_000), PrefixKey(b"two", 2_000))
MISS: Mapping[str, object] = {"prompt": 2_500, "cache_outcome": "miss_absent"}
HIT: dict[str, object] = {"prompt": 2_500, "cache_outcome": "hit", "cached": 1_990}


class Watcher(SilentObserver):
    """Remembers the answers of machines that were chosen for what they hold."""

    def __init__(self) -> None:
        self.hits: list[bool] = []

    def cache_answered(self, model: str, *, hit: bool) -> None:
        self.hits.append(hit)


def telling(*reports: Mapping[str, object]) -> Script:
    """A provider that ends its answers with these reports, the last one again and again."""
    left = list(reports)

    async def script(served: Served) -> None:
        report = left.pop(0) if len(left) > 1 else left[0]
        for text in (ROLE, delta("x"), STOP, b"data: [DONE]\n\n"):
            served.say(text)
        served.complete(**report)  # type: ignore[arg-type]

    return script


def turn(world: World, number: int, **changes: object) -> RelayJob:
    values = {"coord_request_id": f"coord-{number}", "prompt_tokens": 2_500, "prefixes": lambda: KEYS}
    return world.job(**values | {"prompt_tokens_hold": 10_000} | changes)


async def path_of(world: World, number: int, **changes: object) -> tuple[ChoicePath, str | None]:
    """Ask one turn; how its last machine was found, and which it is."""
    await world.ask(turn(world, number, **changes))
    last = world.registry.traces.of(f"coord-{number}")[-1]
    return last.path, last.provider_id


async def test_a_conversation_stays_with_the_machine_that_answered_it(autojump_clock: object) -> None:
    watcher = Watcher()
    async with open_world(observer=watcher) as world:
        for name in ("a", "b", "c"):
            world.provider(name, telling(MISS, HIT))
        path, first = await path_of(world, 0)
        assert path is not ChoicePath.CACHED
        for number in range(1, 8):
            assert await path_of(world, number) == (ChoicePath.CACHED, first)
    assert watcher.hits == [True] * 7


@pytest.mark.parametrize("outcome", ["", "skipped_policy", "skipped_capacity", "miss_corrupt"])
async def test_a_machine_that_keeps_nothing_holds_nothing(autojump_clock: object, outcome: str) -> None:
    async with open_world() as world:
        world.provider("a", telling({"prompt": 2_500, "cache_outcome": outcome}))
        await world.ask(turn(world, 0))
        assert len(world.registry.holders) == 0


@pytest.mark.parametrize(
    "report",
    [
        {"prompt": 2_500, "cached": 2_501, "cache_outcome": "hit"},
        {"prompt": 2_500, "cached": 0, "cache_outcome": "hit"},
        {"prompt": 2_500, "cached": 900, "cache_outcome": "miss_absent"},
        {"prompt": 2_500, "cached": 900},
    ],
    ids=["more than the prompt", "a hit of nothing", "a miss of something", "without a word"],
)
async def test_a_report_that_contradicts_itself_shows_nothing(
    autojump_clock: object, report: Mapping[str, object]
) -> None:
    watcher = Watcher()
    async with open_world(observer=watcher) as world:
        world.provider("a", telling(report, MISS, report))
        await world.ask(turn(world, 0))
        assert len(world.registry.holders) == 0
        await world.ask(turn(world, 1))
        assert len(world.registry.holders) == len(KEYS)
        assert await path_of(world, 2) == (ChoicePath.CACHED, "a")
        assert len(world.registry.holders) == 0
    assert watcher.hits == [False]


async def test_a_machine_that_has_forgotten_is_believed_after_another_answer_only(autojump_clock: object) -> None:
    watcher = Watcher()
    async with open_world(observer=watcher) as world:
        world.provider("a", telling(MISS, MISS, MISS, HIT))
        paths = [(await path_of(world, number))[0] for number in range(4)]
    assert [path is ChoicePath.CACHED for path in paths] == [False, True, False, True]
    assert watcher.hits == [False, True]


async def test_without_the_holder_another_machine_answers(autojump_clock: object) -> None:
    async with open_world() as world:
        world.provider("a", telling(MISS, HIT))
        await world.ask(turn(world, 0))
        world.provider("b", telling(MISS, HIT))
        assert await path_of(world, 1) == (ChoicePath.CACHED, "a")
        world.registry.disconnect("a", 0.0, graceful=False)
        path, session = await path_of(world, 2)
        assert (path is ChoicePath.CACHED, session) == (False, "b")
        assert await path_of(world, 3) == (ChoicePath.CACHED, "b")


async def test_a_holder_that_fails_is_not_asked_twice(autojump_clock: object) -> None:
    async with open_world() as world:
        channel = world.provider("a", telling(MISS))
        await world.ask(turn(world, 0))
        world.provider("b", saying("x"))
        channel.script = failing(status_code=500, error="broken")
        await world.ask(turn(world, 1))
        traces = world.registry.traces.of("coord-1")
        assert [(one.provider_id, one.path is ChoicePath.CACHED) for one in traces] == [("a", True), ("b", False)]


async def test_an_answer_that_was_broken_shows_nothing(autojump_clock: object) -> None:
    async def breaks(served: Served) -> None:
        served.say(delta("x"))
        served.error(status_code=500, error="broken")

    async with open_world() as world:
        world.provider("a", breaks)
        await world.ask(turn(world, 0))
        record = await world.settled()
        assert (record.usage, record.delivered_deltas) == (None, 1)
        assert len(world.registry.holders) == 0


async def test_an_answer_that_was_left_shows_nothing(autojump_clock: object) -> None:
    async def honest(served: Served) -> None:
        served.say(delta("x"))
        await served.cancelled.wait()
        served.complete(**MISS)  # type: ignore[arg-type]

    async with open_world() as world:
        world.provider("a", honest)
        with trio.move_on_after(0.5):
            await world.ask(turn(world, 0))
        record = await world.settled()
        assert record.usage is not None
        assert len(world.registry.holders) == 0


async def test_a_backup_is_no_matter_of_caches(autojump_clock: object) -> None:
    """It is sent because a holder is late: it goes where it would go if nobody held anything."""
    async with open_world() as world:
        object.__setattr__(world.services, "hedging", FleetHedging(world.registry))
        for name, pressure in (("late", 0.0), ("warmer", 0.1), ("cooler", 0.05)):
            world.provider(name, silent if name == "late" else saying("x"))
            report = heartbeat(
                wire_slot(active_token_budget_max=1_000_000), system_metrics=SystemMetrics(memory_pressure=pressure)
            )
            world.registry.heartbeat(name, report, trio.current_time())
        for holder in ("late", "warmer"):
            world.registry.holders.confirm("m", KEYS, holder, trio.current_time())
        await world.ask(turn(world, 0))
        traces = world.registry.traces.of("coord-0")
    assert [(one.provider_id, one.path is ChoicePath.CACHED) for one in traces] == [("late", True), ("cooler", False)]


async def test_keys_are_asked_for_once_and_only_when_a_machine_is_looked_for(autojump_clock: object) -> None:
    asked = []

    def prefixes() -> tuple[PrefixKey, ...]:
        asked.append(1)
        return KEYS

    async with open_world() as world:
        world.provider("a", failing(status_code=500, error="broken"))
        world.provider("b", telling(MISS))
        job = turn(world, 0, prefixes=prefixes)
        assert asked == []
        await world.ask(job)
    assert asked == [1]


async def test_what_a_cached_prompt_takes_teaches_no_estimate(autojump_clock: object) -> None:
    async with open_world() as world:
        world.provider("a", telling(MISS, HIT))
        told: dict[str, int] = {"predicted": 0, "delivered": 0, "delay": 0}

        def counted(name: str) -> Callable[..., None]:
            def count(*_: object) -> None:
                told[name] += 1

            return count

        registry = world.registry
        registry.calibration.predicted = counted("predicted")  # type: ignore[method-assign]
        registry.first_content.delivered = counted("delivered")  # type: ignore[method-assign]
        registry.machines.first_content = counted("delay")  # type: ignore[method-assign]
        for number in range(3):
            assert ((await path_of(world, number))[0] is ChoicePath.CACHED) == (number > 0)
    assert told == {"predicted": 1, "delivered": 1, "delay": 1}


@pytest.mark.parametrize(("cached", "hit"), [(1, False), (999, False), (1_000, True), (2_500, True)])
async def test_a_hit_is_one_if_it_is_half_of_what_was_expected(autojump_clock: object, cached: int, hit: bool) -> None:
    """2,000 tokens are expected; a machine that holds nothing cannot stay preferred by claiming one."""
    watcher = Watcher()
    async with open_world(observer=watcher) as world:
        world.provider("a", telling(MISS, HIT | {"cached": cached}))
        for number in range(2):
            await world.ask(turn(world, number))
        assert (len(world.registry.holders) > 0) is hit
    assert watcher.hits == [hit]


async def test_a_hit_that_nobody_expected_is_believed_however_short(autojump_clock: object) -> None:
    async with open_world() as world:
        world.provider("a", telling(HIT | {"cached": 64}))
        await world.ask(turn(world, 0))
        assert len(world.registry.holders) == len(KEYS)
