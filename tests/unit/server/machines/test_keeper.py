"""Records of machines survive a restart: written in batches, read at the start, kept while the database is away."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from server.machines import MachineKeeper
from server.machines.rows import read_machines
from server.registry.machines import LearntSpeed
from server.store import Store, StoreUnavailable
from tests.unit.server.registry.fleet import Fleet, wire_slot


def fleet_at(now: float) -> Fleet:
    return Fleet(lasting_clock=lambda: now)


async def test_a_machine_is_the_same_after_a_restart(store: Store) -> None:
    before = fleet_at(1_000.0)
    before.warm("a", stable_id="machine", account_id="owner")
    before.beat("a", wire_slot(observed_decode_tps=33.0, observed_prefill_tps=400.0), stats=(5, 50))
    before.registry.machines.succeeded("machine")
    before.registry.machines.failed("machine")
    before.registry.machines.first_content("machine", 800.0)
    assert await MachineKeeper(store, before.registry).flush() == 1
    after = fleet_at(2_000.0)
    assert await MachineKeeper(store, after.registry).recover() == 1
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
    keeper = MachineKeeper(store, fleet.registry)
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
    await MachineKeeper(store, fleet.registry).flush()
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
    keeper = MachineKeeper(Away(store, 1), fleet.registry, flush_seconds=60.0)  # type: ignore[arg-type]
    with pytest.raises(StoreUnavailable):
        await keeper.flush()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert [one.stable_id for one in await store.read(lambda tx: read_machines(tx, 10))] == ["machine"]
