"""All parts of billing, put together: one record for the coordinator, and the background tasks it has to run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from server.billing.audit import LedgerAudit
from server.billing.hold_desk import RESERVATION_SECONDS, HoldDesk
from server.billing.observer import SilentBillingObserver
from server.billing.price_book import PriceBook
from server.billing.retry_queue import RetryQueue
from server.billing.settlement import LedgerSettlement
from server.billing.sweeper import Sweeper
from server.billing.usage_totals import UsageTotals, recompute
from server.store.named_locks import acquire

if TYPE_CHECKING:
    import trio

    from server.billing.observer import BillingObserver
    from server.billing.prices import Tariff
    from server.billing.sweeper import NamedLock
    from server.observe.saferun import Supervisor
    from server.store.engine import Store

SWEEPER_LOCK_SECONDS: Final = 180.0
"""Three sweeps: another coordinator takes over when this one has stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Billing:
    """One per coordinator."""

    store: Store
    tariff: Tariff
    prices: PriceBook
    desk: HoldDesk
    settlement: LedgerSettlement
    queue: RetryQueue
    sweeper: Sweeper
    totals: UsageTotals
    audit: LedgerAudit

    async def recover(self) -> int:
        """Give back what a crash left open, before the coordinator takes requests; returns how many holds."""
        released = await self.sweeper.recover()
        if self.store.kind == "sqlite":
            await self.store.write(recompute)
        return released

    def start(self, nursery: trio.Nursery, supervisor: Supervisor) -> None:
        """Start the background tasks; the nursery must outlive the relay, whose last settlements need the queue."""
        supervisor.start(nursery, "billing_queue", self.queue.run, restart="backoff", essential=True)
        supervisor.start(nursery, "hold_sweeper", self.sweeper.run, restart="backoff", essential=True)
        supervisor.start(nursery, "usage_totals", self.totals.run, restart="backoff")
        supervisor.start(nursery, "ledger_audit", self.audit.run, restart="backoff")


def make_billing(
    store: Store,
    tariff: Tariff,
    *,
    wall_clock: Callable[[], int],
    instance_id: str,
    is_known_model: Callable[[str], bool],
    sweeper_lock: NamedLock | None = None,
    observer: BillingObserver | None = None,
    reservation_seconds: float = RESERVATION_SECONDS,
) -> Billing:
    """Build the parts; nothing runs yet. `wall_clock` gives microseconds since the epoch.

    `instance_id` is new for every start of a coordinator. `sweeper_lock` defaults to the named lock in the store.
    """

    async def lock() -> bool:
        now = wall_clock()
        return await store.write(
            lambda tx: acquire(tx, "reservation_sweeper", holder=instance_id, ttl_seconds=SWEEPER_LOCK_SECONDS, now=now)
        )

    watched = observer if observer is not None else SilentBillingObserver()
    queue = RetryQueue(watched)
    prices = PriceBook(store, tariff, wall_clock=wall_clock, is_known_model=is_known_model)
    totals = UsageTotals(store)
    desk = HoldDesk(
        store,
        prices,
        tariff,
        queue,
        watched,
        wall_clock=wall_clock,
        instance_id=instance_id,
        reservation_seconds=reservation_seconds,
    )
    return Billing(
        store=store,
        tariff=tariff,
        prices=prices,
        desk=desk,
        settlement=LedgerSettlement(store, desk, prices, tariff, totals, watched, wall_clock=wall_clock),
        queue=queue,
        sweeper=Sweeper(
            store,
            desk,
            watched,
            wall_clock=wall_clock,
            lock=sweeper_lock if sweeper_lock is not None else lock,
            reservation_seconds=reservation_seconds,
        ),
        totals=totals,
        audit=LedgerAudit(store),
    )
