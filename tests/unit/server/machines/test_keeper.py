"""Records of machines survive a restart: written in batches, read at the start, kept while the database is away."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from server.machines import MachineKeeper
from server.machines.profile_rows import read_profiles
from server.machines.ratio_rows import read_ratios
from server.machines.rows import read_machines
from server.registry.machines import LearntSpeed
from server.store import Store, StoreUnavailable
from tests.unit.server.registry.fleet import Fleet, register_message, wire_slot


def fleet_at(now: float) -> Fleet:
    return Fleet(lasting_clock=lambda: now)


def keeper_of(store: Store, fleet: Fleet) -> MachineKeeper:
    return MachineKeeper(store, fleet.registry, wall_clock=lambda: 7)


async def test_a_machine_is_the_same_after_a_restart(store: Store) -> None:
    before = fleet_at(1_000.0)
    before.warm("a", stable_id="machine", account_id="owner")
    before.beat("a", wire_slot(observed_decode_tps=33.0, observed_prefill_tps=400.0), stats=(5, 50))
    before.registry.machines.succeeded("machine")
    before.registry.machines.failed("machine")
    before.registry.machines.first_content("machine", 800.0)
    assert await keeper_of(store, before).flush() == 1
    after = fleet_at(2_000.0)
    assert await keeper_of(store, after).recover() == 1
    old, new = before.registry.machines.get("machine"), after.registry.machines.get("machine")
    assert old is not None
    assert new is not None
    assert (new.jobs_ok, new.jobs_failed, new.totals) == (1, 1, {"requests_served": 5, "tokens_generated": 50})
    assert new.speeds == {"m": LearntSpeed(33.0, 400.0)}
    assert (new.counts, new.account_id, new.public_key) == (old.counts, "owner", old.public_key)
    assert (new.first_seen, new.last_seen) == (1_000.0, 1_000.0)


async def test_only_changed_machines_are_written_again(store: Store) -> None:
    fleet = fleet_at(1_000.0)
    machines = fleet.registry.machines
    for number in range(250):
        machines.succeeded(f"m{number}")
    keeper = keeper_of(store, fleet)
    assert await keeper.flush() == 250
    assert await keeper.flush() == 0
    machines.failed("m3")
    assert await keeper.flush() == 1
    found = {one.stable_id: one for one in await store.read(lambda tx: read_machines(tx, 1_000))}
    assert len(found) == 250
    assert (found["m3"].jobs_ok, found["m3"].jobs_failed) == (1, 1)


async def test_a_row_that_cannot_be_read_is_left_out(store: Store) -> None:
    fleet = fleet_at(1_000.0)
    fleet.registry.machines.succeeded("good")
    fleet.registry.machines.succeeded("bad")
    await keeper_of(store, fleet).flush()
    await store.write(lambda tx: tx.execute("UPDATE providers SET lifetime_stats = '{' WHERE id = 'bad'"))
    assert [one.stable_id for one in await store.read(lambda tx: read_machines(tx, 10))] == ["good"]


class Away:
    """A database that is away for its first `failures` writes."""

    def __init__(self, store: Store, failures: int) -> None:
        self._store = store
        self.failures = failures

    async def write(self, work: object) -> object:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("The database is away.")
        return await self._store.write(work)  # type: ignore[arg-type]


async def test_what_could_not_be_written_is_written_later(store: Store) -> None:
    fleet = fleet_at(1_000.0)
    fleet.registry.machines.succeeded("machine")
    keeper = keeper_of(Away(store, 1), fleet)  # type: ignore[arg-type]
    with pytest.raises(StoreUnavailable):
        await keeper.flush()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert [one.stable_id for one in await store.read(lambda tx: read_machines(tx, 10))] == ["machine"]


def learn(fleet: Fleet, count: int, ratio: float, chip: str = "M3") -> None:
    for number in range(count):
        fleet.registry.calibration.predicted(f"r{number}", "m", chip, 1_000.0, 0.0)
        fleet.registry.calibration.content(f"r{number}", ratio)


async def test_times_to_the_first_token_are_known_after_a_restart(store: Store) -> None:
    before = fleet_at(1_000.0)
    learn(before, 60, 0.4)
    learn(before, 50, 0.8, chip="M1")
    learn(before, 10, 1.2, chip="")
    keeper = keeper_of(store, before)
    await keeper.flush()
    learn(before, 1, 0.4)
    await keeper.flush()
    after = fleet_at(2_000.0)
    await keeper_of(store, after).recover()
    old, new = before.registry.calibration, after.registry.calibration
    for chip in ("M3", "M1", "", "never seen"):
        assert new.ratio("m", chip) == old.ratio("m", chip) != 1.0
    assert new.q90_ms("m", 1_000.0) == old.q90_ms("m", 1_000.0) == 800.0
    # What was written last is the window itself: samples that come now push out the oldest ones.
    learn(before, 100, 0.6)
    learn(after, 100, 0.6)
    assert new.ratio("m", "M3") == old.ratio("m", "M3") == 0.6


async def test_only_changed_windows_are_written_and_bad_rows_are_left_out(store: Store) -> None:
    fleet = fleet_at(1_000.0)
    learn(fleet, 60, 0.4)
    learn(fleet, 60, 0.4, chip="M1")
    keeper = keeper_of(store, fleet)
    await keeper.flush()
    spoil = "UPDATE ttft_ratios SET ratios = '[-1]' WHERE subject <> '[\"m\",\"M1\"]'"
    await store.write(lambda tx: tx.execute(spoil))
    await keeper.flush()
    again = fleet_at(2_000.0)
    await keeper_of(store, again).recover()
    assert len(again.registry.calibration) == 1
    assert again.registry.calibration.ratio("m", "M1") == 0.4
    assert again.registry.calibration.ratio("m", "M3") == 1.0


async def test_windows_that_could_not_be_written_are_written_later(store: Store) -> None:
    fleet = fleet_at(1_000.0)
    learn(fleet, 60, 0.4)
    keeper = keeper_of(Away(store, 1), fleet)  # type: ignore[arg-type]
    with pytest.raises(StoreUnavailable):
        await keeper.flush()
    await keeper.flush()
    assert {window.chip_family for window in await store.read(lambda tx: read_ratios(tx, 10))} == {"M3", None}


async def test_words_that_the_database_cannot_hold_spoil_no_other_record(store: Store) -> None:
    fleet = fleet_at(1_000.0)
    for name in ("before", "odd", "after"):
        fleet.warm(name, stable_id=f"dev-{name}", message=register_message(version="1\0" if name == "odd" else "1"))
    learn(fleet, 60, 0.4, chip="x" * 3_000)
    await keeper_of(store, fleet).flush()
    assert {one.stable_id for one in await store.read(lambda tx: read_machines(tx, 10))} >= {"dev-before", "dev-after"}
    assert [window.chip_family for window in await store.read(lambda tx: read_ratios(tx, 10))] == [None]


def need(fleet: Fleet, model: str, machines: int, *, hour: int = 0) -> None:
    for minute in range(60):
        fleet.registry.demand.profiles.note(model, machines, 3_600.0 * hour + 60.0 * minute, 60.0)


async def test_what_models_need_is_known_after_a_restart(store: Store) -> None:
    before = fleet_at(1_000.0)
    need(before, "m", 3)
    need(before, "m", 0, hour=1)
    need(before, "other", 1)
    need(before, "x" * 3_000, 1)
    keeper = keeper_of(store, before)
    await keeper.flush()
    after = fleet_at(2_000.0)
    await keeper_of(store, after).recover()
    old, new = before.registry.demand.profiles, after.registry.demand.profiles
    assert set(new.models()) == {"m", "other"}
    for model, expected in (("m", 3), ("other", 1)):
        assert new.foreseen(model, 168 * 3_600.0) == old.foreseen(model, 168 * 3_600.0) == expected


@pytest.mark.parametrize("spoilt", ['{"since":0,"hours":[]}', "{", '{"since":0,"hours":[[0,-1.0,0.0]]}'])
async def test_a_profile_that_cannot_be_read_is_left_out(store: Store, spoilt: str) -> None:
    fleet = fleet_at(1_000.0)
    need(fleet, "good", 1)
    need(fleet, "bad", 1)
    await keeper_of(store, fleet).flush()
    await store.write(lambda tx: tx.execute("UPDATE demand_profiles SET profile = $1 WHERE model = 'bad'", spoilt))
    assert [one.model for one in await store.read(lambda tx: read_profiles(tx, 10))] == ["good"]
