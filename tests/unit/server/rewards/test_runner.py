"""Settling base rewards on both engines: rights, budgets, remainders, races, and money that adds up."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
import trio.testing

from server.billing.balance import Balance
from server.rewards.draws import epoch_use, list_draws
from server.rewards.epochs import Epoch
from server.rewards.policy import BaseRewardPolicy
from server.rewards.runner import LOCK
from server.store import StoreUnavailable
from server.store.named_locks import acquire
from tests.testbed.flaky_store import FlakyStore
from tests.unit.server.rewards.conftest import JULY, JUNE, STUDIO, ULTRA, RewardWorld

SECOND = 1_000_000
DAY = 86_400 * SECOND


async def test_an_idle_machine_gets_its_floor_as_withdrawable_money(world: RewardWorld) -> None:
    world.fleet.present = [STUDIO]
    await world.connected("studio", JUNE.start, JUNE.end)
    world.closed(JUNE)
    assert await world.runner().turn() == {JUNE.id: 1}
    assert await world.draws() == [(JUNE.id, "studio", 2_083)]
    assert await world.books.balance("ann") == Balance(2_083, 2_083, 0, 0)
    assert await world.books.entries() == [
        ("sys:base_rewards", "provider_floor_draw", -2_083, 0),
        ("ann", "provider_floor_draw", 2_083, 2_083),
    ]
    (earning,) = await world.books.rows("SELECT * FROM provider_earnings")
    assert {name: earning[name] for name in ("account_id", "provider_id", "provider_key", "kind", "model")} == {
        "account_id": "ann",
        "provider_id": "p-studio",
        "provider_key": "studio",
        "kind": "base_reward",
        "model": "base_reward",
    }
    assert (earning["job_id"], earning["amount_micro_usd"]) == (f"floor:{JUNE.id}:studio", 2_083)
    for row in await world.books.rows("SELECT * FROM earnings_summary"):
        assert (row["total_count"], row["total_prompt_tokens"], row["total_completion_tokens"]) == (0, 0, 0)
        assert (row["total_micro_usd"], row["total_base_reward_micro_usd"]) == (2_083, 2_083)
    (draw,) = await world.store.read(lambda tx: list_draws(tx, JUNE.id))
    assert (draw.floor, draw.organic, draw.uptime, draw.memory_gb) == (2_083, 0, 1.0, 64)


async def test_settling_again_writes_nothing(world: RewardWorld) -> None:
    world.fleet.present = [STUDIO, ULTRA]
    for key in ("studio", "ultra"):
        await world.connected(key, JUNE.start, JUNE.end)
    world.closed(JUNE)
    runner = world.runner()
    assert await runner.turn() == {JUNE.id: 2}
    before = await world.books.entries()
    assert await runner.turn() == {}
    assert await world.runner(holder="two").turn() == {}
    assert await world.books.entries() == before


async def test_of_two_processes_one_settles(world: RewardWorld) -> None:
    world.fleet.present = [STUDIO, ULTRA]
    for key in ("studio", "ultra"):
        await world.connected(key, JUNE.start, JUNE.end)
    world.closed(JUNE)
    results: list[dict[str, int]] = []

    async def settle(holder: str) -> None:
        results.append(await world.runner(holder=holder).turn())

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(settle, f"process-{number}")
    assert sorted(results, key=len) == [{}] * 7 + [{JUNE.id: 2}]
    assert [amount for _, _, amount in await world.draws()] == [2_083, 4_630]


async def test_a_process_that_lost_the_lock_writes_nothing(world: RewardWorld) -> None:
    world.fleet.present = [STUDIO]
    await world.connected("studio", JUNE.start, JUNE.end)
    world.closed(JUNE)
    runner = world.runner()
    steal = world.store.statistics

    async def statistics(work: object) -> object:
        await world.books.run("UPDATE locks SET holder = 'thief' WHERE name = $1", LOCK)
        return await steal(work)  # type: ignore[arg-type]

    runner._remainders._store = _With(world.store, statistics)  # type: ignore[assignment]
    assert await runner.turn() == {}
    assert await world.draws() == []
    assert await world.store.write(lambda tx: acquire(tx, LOCK, holder="thief", ttl_seconds=1, now=world.books.now))


class _With:
    """A store whose `statistics` is another."""

    def __init__(self, store: object, statistics: object) -> None:
        self.statistics = statistics


async def test_nothing_happens_while_another_process_has_the_lock(world: RewardWorld) -> None:
    world.fleet.present = [STUDIO]
    await world.connected("studio", JUNE.start, JUNE.end)
    world.closed(JUNE)
    await world.store.write(lambda tx: acquire(tx, LOCK, holder="other", ttl_seconds=60, now=world.books.now))
    assert await world.runner().turn() == {}
    assert world.fleet.looks == 0
    world.books.now += 61 * SECOND
    assert await world.runner().turn() == {JUNE.id: 1}


async def test_half_of_a_small_budget_is_first_the_workhorses(world: RewardWorld) -> None:
    world.fleet.present = [STUDIO, ULTRA]
    for key in ("studio", "ultra"):
        await world.connected(key, JUNE.start, JUNE.end)
    world.closed(JUNE)
    policy = BaseRewardPolicy(pool=3_000 * 8_640, require_work=False)
    assert policy.budget(JUNE) == 3_000
    await world.runner(policy).turn()
    assert await world.draws() == [(JUNE.id, "studio", 2_083), (JUNE.id, "ultra", 917)]
    use = await world.store.read(lambda tx: epoch_use(tx, JUNE.id))
    assert (use.draws, use.amount) == (2, 3_000)


async def test_who_comes_late_gets_what_is_left_and_an_empty_draw_when_nothing_is(world: RewardWorld) -> None:
    policy = BaseRewardPolicy(pool=3_000 * 8_640, require_work=False)
    for key in ("studio", "ultra", "third"):
        await world.connected(key, JUNE.start, JUNE.end)
    world.closed(JUNE)
    runner = world.runner(policy)
    for machine in (STUDIO, ULTRA, replace(ULTRA, provider_key="third")):
        world.fleet.present.append(machine)
        assert await runner.turn() == {JUNE.id: 1}
    assert await world.draws() == [(JUNE.id, "studio", 2_083), (JUNE.id, "third", 0), (JUNE.id, "ultra", 917)]


async def test_the_cap_of_an_account_counts_what_it_drew_before(world: RewardWorld) -> None:
    policy = BaseRewardPolicy(pool=4_000 * 8_640, account_cap_millionths=750_000, require_work=False)
    for key in ("studio", "second"):
        await world.connected(key, JUNE.start, JUNE.end)
    world.closed(JUNE)
    runner = world.runner(policy)
    world.fleet.present = [STUDIO]
    await runner.turn()
    world.fleet.present = [STUDIO, replace(STUDIO, provider_key="second")]
    await runner.turn()
    assert await world.draws() == [(JUNE.id, "second", 917), (JUNE.id, "studio", 2_083)]


@pytest.mark.parametrize(("seconds", "amounts"), [(300, [2_083]), (285, [1_042]), (270, [0]), (267, [])])
async def test_uptime_decides(world: RewardWorld, seconds: int, amounts: list[int]) -> None:
    world.fleet.present = [STUDIO]
    await world.connected("studio", JUNE.start, JUNE.start + seconds * SECOND)
    world.closed(JUNE)
    await world.runner().turn()
    assert [amount for _, _, amount in await world.draws()] == amounts


async def test_overlapping_sessions_of_two_coordinators_count_once(world: RewardWorld) -> None:
    world.fleet.present = [STUDIO]
    await world.connected("studio", JUNE.start, JUNE.start + 200 * SECOND)
    await world.connected("studio", JUNE.start + 150 * SECOND, None, last_seen=JUNE.end - 20 * SECOND)
    world.closed(JUNE)
    await world.runner().turn()
    (draw,) = await world.store.read(lambda tx: list_draws(tx, JUNE.id))
    assert (draw.uptime, draw.amount) == (1.0, 2_083)


async def test_a_machine_must_have_served_somebody_else_lately(world: RewardWorld) -> None:
    world.fleet.present = [STUDIO, ULTRA]
    for key in ("studio", "ultra"):
        await world.connected(key, JUNE.start, JUNE.end)
    await world.worked("studio", 500, JUNE.end - 45 * DAY)
    await world.worked("ultra", 500, JUNE.end - 45 * DAY - 1)
    world.closed(JUNE)
    await world.runner(BaseRewardPolicy()).turn()
    assert [key for _, key, _ in await world.draws()] == ["studio"]


async def test_work_within_the_epoch_is_taken_off_where_the_rules_say_so(world: RewardWorld) -> None:
    world.fleet.present = [STUDIO]
    await world.connected("studio", JUNE.start, JUNE.end)
    for at in (JUNE.start - 1, JUNE.start, JUNE.end - 1, JUNE.end):
        await world.worked("studio", 400, at)
    world.closed(JUNE)
    await world.runner(BaseRewardPolicy(reduction_thousandths=1_500)).turn()
    (draw,) = await world.store.read(lambda tx: list_draws(tx, JUNE.id))
    assert (draw.floor, draw.organic, draw.amount) == (2_083, 800, 883)


async def test_base_rewards_are_no_work(world: RewardWorld) -> None:
    world.fleet.present = [STUDIO]
    await world.connected("studio", JUNE.start, JUNE.shift(1).end)
    world.closed(JUNE)
    await world.runner().turn()
    world.closed(JUNE.shift(1))
    assert await world.runner(BaseRewardPolicy()).turn() == {}


async def test_missed_epochs_are_caught_up_a_day_back(world: RewardWorld) -> None:
    world.fleet.present = [STUDIO]
    await world.connected("studio", JUNE.start, JUNE.shift(400).end)
    world.closed(JUNE)
    runner = world.runner()
    assert await runner.turn() == {JUNE.id: 1}
    world.closed(JUNE.shift(3))
    assert await runner.turn() == {JUNE.shift(number).id: 1 for number in (1, 2, 3)}
    # A new process takes up where the last draw is.
    world.closed(JUNE.shift(5))
    assert await world.runner(holder="two").turn() == {JUNE.shift(number).id: 1 for number in (4, 5)}


async def test_no_more_than_288_missed_epochs(world: RewardWorld) -> None:
    world.fleet.present = [STUDIO]
    world.closed(JUNE)
    runner = world.runner()
    await runner.turn()
    world.closed(JUNE.shift(1_000))
    due = await runner._due()
    assert (len(due), due[-1]) == (288, JUNE.shift(1_000))
    assert due == [JUNE.shift(number) for number in range(713, 1_001)]


async def test_remainders_are_carried_from_epoch_to_epoch(world: RewardWorld) -> None:
    world.fleet.present = [STUDIO]
    await world.connected("studio", JUNE.start, JUNE.shift(11).end)
    runner = world.runner()
    for number in range(12):
        world.closed(JUNE.shift(number))
        await runner.turn()
    amounts = [amount for _, _, amount in await world.draws()]
    # 2083 1/3 each: every third epoch gets one more, and an hour 25,000 to the last micro-dollar.
    assert sum(amounts) == 25_000
    assert sorted(set(amounts)) == [2_083, 2_084]


async def test_remainders_follow_uneven_uptime(world: RewardWorld) -> None:
    world.fleet.present = [STUDIO]
    await world.connected("studio", JUNE.start, JUNE.start + 285 * SECOND)
    await world.connected("studio", JUNE.end, JUNE.shift(5).end)
    runner = world.runner()
    for number in range(6):
        world.closed(JUNE.shift(number))
        await runner.turn()
    # 1041 2/3 and five times 2083 1/3 are 11,458 1/3.
    assert sum(amount for _, _, amount in await world.draws()) == 11_458


async def test_another_process_carries_the_same_remainder(world: RewardWorld) -> None:
    world.fleet.present = [STUDIO]
    await world.connected("studio", JUNE.start, JUNE.shift(5).end)
    for number in range(6):
        world.closed(JUNE.shift(number))
        await world.runner(holder=f"process-{number}").turn()
    assert sum(amount for _, _, amount in await world.draws()) == 12_500


async def test_a_new_month_has_its_own_scale(world: RewardWorld) -> None:
    last_of_june = Epoch.parse("2026-06-30T23:55Z")
    world.fleet.present = [STUDIO]
    await world.connected("studio", last_of_june.start, last_of_june.shift(1).end)
    world.closed(last_of_june)
    runner = world.runner()
    await runner.turn()
    world.closed(last_of_june.shift(1))
    await runner.turn()
    assert [amount for _, _, amount in await world.draws()] == [2_083, 2_016]


async def test_a_machine_that_loses_its_right_while_it_is_paid_gets_nothing(world: RewardWorld) -> None:
    for key in ("studio", "ultra"):
        await world.connected(key, JUNE.start, JUNE.end)
    world.closed(JUNE)

    class Leaving:
        """The second look, which is in the transaction, sees one machine less."""

        looks = 0

        def machines(self) -> list[object]:
            self.looks += 1
            return [STUDIO, ULTRA] if self.looks == 1 else [ULTRA]

    runner = world.runner()
    runner._fleet = Leaving()  # type: ignore[assignment]
    assert await runner.turn() == {JUNE.id: 1}
    assert await world.draws() == [(JUNE.id, "ultra", 4_630)]


async def test_a_fleet_that_never_holds_still_is_left_for_the_next_minute(world: RewardWorld) -> None:
    await world.connected("studio", JUNE.start, JUNE.end)
    world.closed(JUNE)

    class Flickering:
        looks = 0

        def machines(self) -> list[object]:
            self.looks += 1
            return [STUDIO] if self.looks % 2 else []

    runner = world.runner()
    flickering = Flickering()
    runner._fleet = flickering  # type: ignore[assignment]
    assert await runner.turn() == {}
    assert flickering.looks == 6
    assert await world.draws() == []
    runner._fleet = world.fleet
    world.fleet.present = [STUDIO]
    assert await runner.turn() == {JUNE.id: 1}


async def test_july_has_another_scale_than_june(world: RewardWorld) -> None:
    world.fleet.present = [STUDIO]
    await world.connected("studio", JULY.start, JULY.end)
    world.closed(JULY)
    await world.runner().turn()
    assert await world.draws() == [(JULY.id, "studio", 2_016)]


async def test_many_machines_of_few_owners_in_one_transaction(world: RewardWorld) -> None:
    world.fleet.present = [replace(STUDIO, provider_key=f"m{n:03}", account_id=f"o{n % 7}") for n in range(600)]
    rows = [f"m{n:03}" for n in range(600)]
    for key in rows:
        await world.connected(key, JUNE.start, JUNE.end)
    world.closed(JUNE)
    assert await world.runner().turn() == {JUNE.id: 600}
    draws = await world.draws()
    assert sum(amount for _, _, amount in draws) == BaseRewardPolicy().budget(JUNE)
    assert len(draws) == 600


async def test_a_database_that_is_away_does_not_end_the_task(
    world: RewardWorld, caplog: pytest.LogCaptureFixture
) -> None:
    flaky = FlakyStore(world.store)
    world.store = flaky  # type: ignore[assignment]
    world.closed(JUNE)
    runner = world.runner()
    flaky.down = True
    with pytest.raises(StoreUnavailable):
        await runner.turn()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(runner.run)
        await trio.testing.wait_all_tasks_blocked()
        assert [record.message for record in caplog.records] == ["base_rewards_failed"]
        assert len(nursery.child_tasks) == 1
        nursery.cancel_scope.cancel()
