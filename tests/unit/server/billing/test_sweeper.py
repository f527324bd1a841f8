"""Expiry, extension, recovery."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from server.billing.hold_desk import HoldRequest
from server.billing.sweeper import Sweeper
from server.store.errors import StoreUnavailable
from tests.testbed.books import MINUTE

if TYPE_CHECKING:
    from tests.unit.server.billing.conftest import Desk


def _request(request_id: str) -> HoldRequest:
    return HoldRequest(request_id=request_id, account_id="a", model="m", prompt_tokens=1, max_tokens=1)


async def test_forgotten_holds_expire(desk: Desk) -> None:
    await desk.books.grant("a", credit=1000)
    await desk.books.hold("crashed", "a", 300)
    assert await desk.billing.sweeper.turn() == 0
    desk.books.now += 15 * MINUTE + 1
    assert await desk.billing.sweeper.turn() == 1
    assert await desk.books.balance("a") == (1000, 0, 0, 0)
    [row] = await desk.books.rows("SELECT state, reason, closed_at FROM reservations")
    assert tuple(row.values()) == ("released", "expired", desk.books.now)
    assert not (await desk.books.settle("crashed", "a", 100)).fresh
    assert await desk.billing.sweeper.turn() == 0


async def test_living_holds_are_extended_every_five_minutes(desk: Desk) -> None:
    await desk.books.grant("a", credit=1000)
    await desk.billing.desk.open_hold(_request("alive"))
    before = desk.store.writes
    for _ in range(4):
        desk.books.now += MINUTE
        await desk.billing.sweeper.turn()
    assert desk.store.writes == before
    for _ in range(60):
        desk.books.now += MINUTE
        assert await desk.billing.sweeper.turn() == 0
    assert desk.store.writes == before + 12
    assert (await desk.books.balance("a")).held == 100


async def test_more_holds_than_a_batch(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.billing.sweeper.BATCH", 4)
    await desk.books.grant("a", credit=1000)
    for n in range(12):
        await desk.books.hold(f"r{n}", "a", 1)
    for n in range(6):
        await desk.billing.desk.open_hold(_request(f"alive{n}"))
    desk.books.now += 16 * MINUTE
    assert await desk.billing.sweeper.turn() == 12
    assert (await desk.books.balance("a")).held == 600
    for hold in list(desk.billing.desk.open):
        await desk.billing.desk.cancel(hold)
    assert (await desk.books.balance("a")).held == 0


async def test_only_the_holder_of_the_lock_sweeps(desk: Desk) -> None:
    await desk.books.grant("a", credit=1000)
    await desk.books.hold("crashed", "a", 300)
    desk.books.now += 16 * MINUTE
    desk.lock_is_ours = False
    assert await desk.billing.sweeper.turn() == 0
    desk.lock_is_ours = True
    assert await desk.billing.sweeper.turn() == 1


async def test_after_an_outage_the_living_are_extended_before_anything_is_swept(desk: Desk) -> None:
    await desk.books.grant("a", credit=1000)
    await desk.billing.desk.open_hold(_request("alive"))
    await desk.books.hold("crashed", "a", 300)
    desk.store.down = True
    desk.books.now += 20 * MINUTE
    with pytest.raises(StoreUnavailable):
        await desk.billing.sweeper.turn()
    desk.store.down = False
    assert await desk.billing.sweeper.turn() == 1
    assert (await desk.books.balance("a")).held == 100


class RoundCounter(Sweeper):
    """Counts the rounds in which the database answered."""

    rounds = 0

    async def extend_living(self) -> None:
        await super().extend_living()
        self.rounds += 1


async def test_run_leaves_other_coordinators_an_interval_after_an_outage(desk: Desk) -> None:
    await desk.books.grant("a", credit=1000)
    await desk.books.hold("of another coordinator", "a", 300)
    desk.books.now += 20 * MINUTE
    sweeps: list[int] = []

    async def lock() -> bool:
        sweeps.append(sweeper.rounds)
        return True

    sweeper = RoundCounter(
        desk.store,
        desk.billing.desk,
        desk.heard,
        wall_clock=lambda: desk.books.now,
        lock=lock,
        reservation_seconds=900,
        sweep_seconds=0.01,
    )
    await desk.billing.desk.open_hold(_request("mine"))
    desk.books.now += 6 * MINUTE
    desk.store.down = True
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sweeper.run)
            while desk.store.refusals < 3:
                await trio.sleep(0.001)
            desk.store.down = False
            while (await desk.books.balance("a")).held != 100:
                await trio.sleep(0.001)
            nursery.cancel_scope.cancel()
    # The first round after the outage only extends.
    assert sweeps[0] == 2


async def test_recovery_releases_what_a_crash_left_where_no_other_can_be_alive(desk: Desk) -> None:
    await desk.books.grant("a", credit=1000)
    await desk.books.hold("crashed", "a", 300)
    await desk.books.run("INSERT INTO usage_totals (id, total_requests) VALUES (1, 99)")
    released = await desk.billing.recover()
    alone = desk.store.kind == "sqlite"
    assert released == (1 if alone else 0)
    assert (await desk.books.balance("a")).held == (0 if alone else 300)
    if alone:
        [row] = await desk.books.rows("SELECT reason FROM reservations")
        assert row["reason"] == "restart"
        [totals] = await desk.books.rows("SELECT total_requests FROM usage_totals")
        assert totals["total_requests"] == 0


async def test_a_hold_whose_release_found_no_place_in_the_queue_expires(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.books.grant("a", credit=1000)
    hold = await desk.billing.desk.open_hold(_request("lost"))
    monkeypatch.setattr(desk.billing.queue, "_limit", 0)
    desk.store.down = True
    await desk.billing.desk.cancel(hold)
    desk.store.down = False
    assert (desk.heard.losses, list(desk.billing.desk.open)) == (["release"], [])
    desk.books.now += 16 * MINUTE
    assert await desk.billing.sweeper.turn() == 1
    assert (await desk.books.balance("a")).held == 0
