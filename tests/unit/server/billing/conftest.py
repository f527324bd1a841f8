"""Small hands for money tests: fund an account, look at a balance, check the books after each test."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import pytest

from server.billing.ledger import PLATFORM
from server.billing.observer import HoldOutcome, MoneyStep
from server.billing.price_book import write_price
from server.billing.prices import Price, Tariff
from server.billing.service import Billing, make_billing
from server.billing.settle import Settled
from server.store.engine import Store
from tests.testbed.books import Books
from tests.testbed.flaky_store import FlakyStore


@pytest.fixture
async def books(store: Store) -> AsyncGenerator[Books, None]:
    """The store with short hands; the ledger must be perfect when the test is over."""
    opened = Books(store)
    yield opened
    assert await opened.problems() == []


@dataclass
class Heard:
    """Everything that an observer was told."""

    holds: list[tuple[HoldOutcome, int]] = field(default_factory=list)
    releases: list[tuple[int, str]] = field(default_factory=list)
    settlements: list[Settled] = field(default_factory=list)
    discounts: list[int] = field(default_factory=list)
    zero_usages: int = 0
    depths: list[int] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    steps: list[MoneyStep] = field(default_factory=list)

    def hold_taken(self, outcome: HoldOutcome, amount: int) -> None:
        self.holds.append((outcome, amount))

    def hold_released(self, amount: int, reason: str) -> None:
        self.releases.append((amount, reason))

    def settled(self, result: Settled, *, discount: int) -> None:
        self.settlements.append(result)
        self.discounts.append(discount)

    def zero_usage(self) -> None:
        self.zero_usages += 1

    def deferred(self, depth: int) -> None:
        self.depths.append(depth)

    def lost(self, operation: str) -> None:
        self.losses.append(operation)

    def took(self, step: MoneyStep, seconds: float) -> None:
        assert seconds >= 0
        self.steps.append(step)


@dataclass
class Desk:
    """The whole of billing over a store that can be switched off."""

    billing: Billing
    books: Books
    store: FlakyStore
    heard: Heard
    lock_is_ours: bool = True

    async def platform_price(self, model: str, price: Price) -> None:
        """Set a price as operators do: the row, and word to the price book."""
        await self.store.write(lambda tx: write_price(tx, PLATFORM, model, price, self.books.now))
        self.billing.prices.forget(PLATFORM, model)


@pytest.fixture
async def desk(books: Books) -> Desk:
    """Billing with the ordinary tariff; its clock is that of the books; no task runs unless a test starts one."""
    store, heard = FlakyStore(books.store), Heard()

    async def lock() -> bool:
        return made.lock_is_ours

    billing = make_billing(
        store,
        Tariff(),
        wall_clock=lambda: books.now,
        instance_id="instance",
        is_known_model=lambda model: model != "unknown",
        sweeper_lock=lock,
        observer=heard,
    )
    made = Desk(billing, books, store, heard)
    return made
