"""The reconciler: what it repeats, what it leaves alone, what it flags, and its bounds."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio

from protocol.api.errors import ApiError
from server.payments import reconciler as module
from server.payments.fees import Method
from server.payments.reconciler import run_reconciler
from server.store import StoreUnavailable
from server.store.named_locks import acquire
from tests.testbed.stripe_peer_world import HOUR, World

MINUTE = 60.0


async def withdraw(world: World, gross: int = 1_000_000, account: str = "ann", method: Method = "standard") -> None:
    with suppress(ApiError):
        await world.payouts.withdrawals.withdraw(account, gross_micro_usd=gross, method=method)


def transfers(world: World) -> int:
    return len([call for call in world.peer.calls if call.path == "/v1/transfers"])


async def test_young_rows_are_left_to_their_request(world: World) -> None:
    await world.payee("ann", earned=5_000_000)
    world.peer.plan("cut_before", "/v1/transfers", times=3)
    await withdraw(world)
    await world.reconcile_after(14 * MINUTE)
    assert transfers(world) == 3
    await world.reconcile_after(2 * MINUTE)
    assert transfers(world) == 4
    assert (await world.only_withdrawal()).status == "transferred"


async def test_outage_of_a_day_is_repeated_hourly_then_stops(world: World) -> None:
    await world.payee("ann", earned=5_000_000)
    world.peer.plan("cut_after", "/v1/transfers", times=1000)
    await withdraw(world)
    for _ in range(30):
        await world.reconcile_after(HOUR)
    row = await world.only_withdrawal()
    assert (row.status, row.needs_review, row.attempts) == ("pending", True, 1 + 22)
    assert len(world.peer.transfers) == 1
    assert world.meter.alerts.count("withdrawal_needs_review") == 1
    assert (await world.balance("ann")).balance == 4_000_000


async def test_instant_payout_in_doubt_stops_after_a_day_too(world: World) -> None:
    await world.payee("ann", earned=5_000_000, destination="card")
    world.peer.plan("cut_after", "/v1/payouts", times=1000)
    await withdraw(world, 2_000_000, method="instant")
    for _ in range(30):
        await world.reconcile_after(HOUR)
    row = await world.only_withdrawal()
    assert (row.status, row.needs_review, row.fee_refunded, len(world.peer.payouts)) == ("transferred", True, False, 1)


@pytest.mark.parametrize(("country", "hours"), [("US", 48), ("JP", 240)])
async def test_late_rows_are_flagged_once(world: World, country: str, hours: int) -> None:
    connected = await world.payee("ann", earned=5_000_000, country=country)
    if country == "JP":
        world.peer.accounts[connected]["settings"]["payouts"]["schedule"]["interval"] = "weekly"
    await withdraw(world)
    await world.reconcile_after((hours - 1) * HOUR)
    assert world.meter.alerts == []
    for _ in range(3):
        await world.reconcile_after(HOUR)
    assert world.meter.alerts == ["transferred_too_long"]
    row = await world.only_withdrawal()
    assert (row.status, row.needs_review) == ("transferred", True)


async def test_flag_of_a_late_row_does_not_hinder_its_sweep(world: World) -> None:
    connected = await world.payee("ann", earned=5_000_000)
    await withdraw(world)
    await world.reconcile_after(49 * HOUR)
    payout = world.peer.sweep(connected)
    assert payout is not None
    assert await world.connect_hook(world.peer.settle_payout(payout)) == 200
    row = await world.only_withdrawal()
    assert (row.status, row.needs_review) == ("paid", False)


async def test_manual_schedules_of_waiting_rows_are_healed(world: World) -> None:
    connected = await world.payee("ann", earned=5_000_000)
    await withdraw(world)
    schedule = world.peer.accounts[connected]["settings"]["payouts"]["schedule"]
    schedule["interval"] = "manual"
    await world.reconcile_after(HOUR)
    assert schedule["interval"] == "daily"


async def test_account_that_cannot_be_read_does_not_stop_the_others(world: World) -> None:
    first = await world.payee("ann", earned=5_000_000)
    second = await world.payee("bob", earned=5_000_000)
    await withdraw(world)
    await withdraw(world, account="bob")
    world.peer.drop_account(first)
    schedule = world.peer.accounts[second]["settings"]["payouts"]["schedule"]
    schedule["interval"] = "manual"
    await world.reconcile_after(HOUR)
    assert schedule["interval"] == "daily"


async def test_one_look_is_bounded_and_starves_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PENDING", 3)
    monkeypatch.setattr(module, "MAX_TRANSFERRED", 2)
    await world.payee("ann", earned=50_000_000)
    world.peer.plan("cut_before", "/v1/transfers", times=5 * 3 + 3)
    for _ in range(5):
        await withdraw(world)
    world.clock.go(HOUR)
    report = await world.payouts.reconciler.run_once()
    assert (report.repeated, report.looked_at) == (3, 3)
    await world.reconcile_after(HOUR)
    await world.reconcile_after(HOUR)
    rows = await world.rows("SELECT status FROM stripe_withdrawals")
    assert {str(row["status"]) for row in rows} <= {"pending", "transferred"}
    for _ in range(4):
        await world.reconcile_after(HOUR)
    rows = await world.rows("SELECT status FROM stripe_withdrawals")
    assert [row["status"] for row in rows] == ["transferred"] * 5
    for _ in range(3):
        await world.reconcile_after(49 * HOUR)
    assert world.meter.alerts.count("transferred_too_long") == 5


async def test_two_looks_at_once_move_money_once(world: World) -> None:
    await world.payee("ann", earned=5_000_000, destination="card")
    world.peer.plan("cut_before", "/v1/transfers", times=3)
    await withdraw(world, 2_000_000, method="instant")
    world.clock.go(HOUR)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.payouts.reconciler.run_once)
        nursery.start_soon(world.payouts.reconciler.run_once)
    row = await world.only_withdrawal()
    assert (row.status, len(world.peer.transfers), len(world.peer.payouts)) == ("transferred", 1, 1)
    assert (await world.balance("ann")).balance == 3_000_000


async def test_loop_waits_for_its_turn_and_survives_an_outage(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 4:
            raise KeyboardInterrupt
        if len(pauses) == 3:
            await world.store.write(
                lambda tx: acquire(tx, "payout_reconciler", holder="other", ttl_seconds=3600, now=world.clock())
            )
        await trio.lowlevel.checkpoint()

    class Looking:
        async def run_once(self) -> module.ReconcilerReport:
            looks.append("look")
            if len(looks) == 1:
                raise StoreUnavailable("The database does not answer.")
            return module.ReconcilerReport(repeated=0, payouts_repeated=0, flagged=0, looked_at=1)

    class Sleeper:
        def __getattr__(self, name: str) -> object:
            return getattr(trio, name)

    sleeper = Sleeper()
    sleeper.sleep = sleep  # type: ignore[attr-defined]
    monkeypatch.setattr(module, "trio", sleeper)
    with pytest.raises(KeyboardInterrupt):
        await run_reconciler(Looking(), store=world.store, holder="me", clock=world.clock)  # type: ignore[arg-type]
    assert pauses == [60, 3600, 3600, 3600]
    assert looks == ["look", "look"], "the third turn belongs to the other holder of the lock"
