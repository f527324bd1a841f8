"""Books that must be perfect when a test is over, and a fleet that tests move."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from server.rewards.draws import draw_reference
from server.rewards.epochs import Epoch
from server.rewards.fleet import FleetMachine
from server.rewards.policy import BaseRewardPolicy
from server.rewards.runner import BaseRewardRunner
from server.rewards.session_rows import SessionRow, store_sessions
from server.store import Store
from tests.testbed.books import Books

JULY = Epoch.parse("2026-07-15T10:00Z")
JUNE = Epoch.parse("2026-06-15T10:00Z")
STUDIO = FleetMachine(
    provider_key="studio",
    account_id="ann",
    machine_model="Mac13,1",
    memory_gb=64,
    is_public=True,
    has_model=True,
    memory_pressure=0.2,
    thermal="nominal",
    provider_id="p-studio",
)
"""64 GB: the tier of 18 USD a month."""
ULTRA = replace(
    STUDIO, provider_key="ultra", account_id="bob", machine_model="Mac15,14", memory_gb=512, provider_id="p-ultra"
)
"""512 GB: the tier of 40 USD a month."""


@pytest.fixture
async def books(store: Store) -> AsyncGenerator[Books, None]:
    """The store with short hands; the ledger must be perfect when the test is over."""
    opened = Books(store)
    yield opened
    assert await opened.problems() == []


class Fleet:
    """A FleetSnapshot that a test fills; `looks` counts how often it was read."""

    def __init__(self, *machines: FleetMachine) -> None:
        self.present = list(machines)
        self.looks = 0

    def machines(self) -> list[FleetMachine]:
        self.looks += 1
        return list(self.present)


class RewardWorld:
    """A runner with its clock (the books' `now`), its fleet, and what it did."""

    def __init__(self, books: Books) -> None:
        self.books = books
        self.store = books.store
        self.fleet = Fleet()

    def runner(self, policy: BaseRewardPolicy | None = None, *, holder: str = "one") -> BaseRewardRunner:
        """A coordinator's runner; without `policy` the default one, which does not ask for work."""
        chosen = BaseRewardPolicy(require_work=False) if policy is None else policy
        return BaseRewardRunner(self.store, self.fleet, chosen, wall_clock=lambda: self.books.now, holder=holder)

    def closed(self, epoch: Epoch) -> None:
        """Let the epoch have just closed."""
        self.books.now = epoch.end + 1_000_000

    async def connected(
        self, key: str, start: int, end: int | None, *, last_seen: int | None = None, name: str = ""
    ) -> None:
        """Write a session of a machine."""
        row = SessionRow(
            session_id=name or f"{key}-{start}",
            provider_key=key,
            account_id="",
            serial_hash="",
            connected_at=start,
            last_seen=last_seen if last_seen is not None else end if end is not None else start,
            disconnected_at=end,
        )
        await self.store.write(lambda tx: store_sessions(tx, [row]))

    async def worked(self, key: str, amount: int, at: int, *, kind: str = "work") -> None:
        """Settle a request that the machine served, at a moment; its owner is `ann`."""
        now, self.books.now = self.books.now, at
        name = f"job-{key}-{at}-{amount}"
        await self.books.grant("cara", credit=amount)
        await self.books.hold(name, "cara", amount)
        await self.books.settle(name, "cara", amount, owner="ann", provider_key=key)
        self.books.now = now

    async def draws(self) -> list[tuple[str, str, int]]:
        """All draws as (epoch, machine, amount), each with its reference in the ledger if it is money."""
        rows = await self.books.rows(
            "SELECT epoch_id, provider_key, amount_micro_usd FROM provider_floor_draws ORDER BY epoch_id, provider_key"
        )
        found = [(str(r["epoch_id"]), str(r["provider_key"]), int(str(r["amount_micro_usd"]))) for r in rows]
        posted = {
            str(row["reference"])
            for row in await self.books.rows("SELECT reference FROM ledger_txns WHERE kind = 'floor'")
        }
        assert posted == {draw_reference(epoch, key) for epoch, key, amount in found if amount}
        return found


@pytest.fixture
def world(books: Books) -> RewardWorld:
    return RewardWorld(books)
