"""Prices of models: the platform's, and those that machine owners set for themselves.

Invariant: a lookup never returns a price that was replaced more than 30 seconds ago, nor one that this process replaced
before the lookup began.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import trio

from server.billing.ledger import PLATFORM
from server.billing.prices import Price
from server.store.errors import Invalid, NotFound

if TYPE_CHECKING:
    from server.billing.prices import Tariff
    from server.store.engine import Row, Store, Tx

FRESH_SECONDS: Final = 30.0
MAX_CACHED: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceListing:
    """One line of the public price list; `cache_read` is filled in where it is derived."""

    model: str
    input: int
    output: int
    cache_read: int


class PriceBook:
    """Looks prices up through a cache, and writes those of machine owners."""

    def __init__(
        self, store: Store, tariff: Tariff, *, wall_clock: Callable[[], int], is_known_model: Callable[[str], bool]
    ) -> None:
        self._store = store
        self._tariff = tariff
        self._wall_clock = wall_clock
        self._is_known_model = is_known_model
        self._cache: dict[tuple[str, str], tuple[Price | None, float]] = {}
        self._generation = 0

    async def price(self, model: str, owner: str | None = None) -> Price:
        """The price of a build served by a machine of `owner`: the owner's, the platform's, or the fallback.

        Leave the owner out for service accounts and for the hold at admission. Raises StoreUnavailable.
        """
        if owner is not None:
            own = await self._row(owner, model)
            if own is not None:
                return own
        return await self._row(PLATFORM, model) or self._tariff.fallback

    async def listing(self) -> list[PriceListing]:
        """The platform's prices by model name."""
        rows = await self._store.read(lambda tx: list_prices(tx, PLATFORM))
        return [
            PriceListing(
                model=model, input=price.input, output=price.output, cache_read=self._tariff.cache_read_rate(price)
            )
            for model, price in rows
        ]

    async def set_own_price(self, account_id: str, model: str, price: Price) -> None:
        """Write a price of a machine owner; raises Invalid for unknown models and prices far above the platform's."""
        _check(model, price)
        if not self._is_known_model(model):
            raise Invalid(f"The model {model[:100]!r} is not known; GET /v1/models lists the models that are.")
        base, factor = await self.price(model), self._tariff.max_price_multiple
        for name, mine, theirs in (
            ("input_price", price.input, base.input),
            ("output_price", price.output, base.output),
        ):
            if mine > factor * theirs:
                raise Invalid(f"{name} may be at most {factor} times the platform's price: {factor * theirs}.")
        now = self._wall_clock()
        try:
            await self._store.write(lambda tx: write_price(tx, account_id, model, price, now))
        finally:
            self.forget(account_id, model)

    async def delete_own_price(self, account_id: str, model: str) -> None:
        """Remove a price of a machine owner; raises NotFound without one."""
        if not await self._store.write(lambda tx: delete_price(tx, account_id, model)):
            raise NotFound(f"There is no price of yours for the model {model[:100]!r}.")
        self.forget(account_id, model)

    def forget(self, account_id: str, model: str) -> None:
        """Look this price up anew; call it after a write by other means."""
        self._generation += 1
        self._cache.pop((account_id, model), None)

    async def _row(self, account_id: str, model: str) -> Price | None:
        key = (account_id, model)
        cached = self._cache.get(key)
        if cached is not None and trio.current_time() < cached[1]:
            return cached[0]
        generation, until = self._generation, trio.current_time() + FRESH_SECONDS
        found = await self._store.read(lambda tx: read_price(tx, account_id, model))
        # A write that ended meanwhile may be newer than what was read.
        if generation == self._generation:
            if len(self._cache) >= MAX_CACHED:
                self._cache.clear()
            self._cache[key] = (found, until)
        return found


async def read_price(tx: Tx, account_id: str, model: str) -> Price | None:
    """The row of an account (or `platform`) for a model."""
    row = await tx.row(
        "SELECT input_price, output_price, cache_read_price FROM model_prices WHERE account_id = $1 AND model = $2",
        account_id,
        model,
    )
    return _price(row) if row is not None else None


async def list_prices(tx: Tx, account_id: str) -> list[tuple[str, Price]]:
    """All rows of an account by model name."""
    rows = await tx.fetch(
        "SELECT model, input_price, output_price, cache_read_price FROM model_prices WHERE account_id = $1", account_id
    )
    # Sorted here: engines differ in the order of letters.
    return sorted((cast(str, row["model"]), _price(row)) for row in rows)


async def write_price(tx: Tx, account_id: str, model: str, price: Price, now: int) -> None:
    """Insert or replace a row."""
    _check(model, price)
    await tx.execute(
        "INSERT INTO model_prices (account_id, model, input_price, output_price, cache_read_price, updated_at)"
        " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (account_id, model) DO UPDATE SET"
        " input_price = excluded.input_price, output_price = excluded.output_price,"
        " cache_read_price = excluded.cache_read_price, updated_at = excluded.updated_at",
        account_id,
        model,
        price.input,
        price.output,
        price.cache_read,
        now,
    )


async def delete_price(tx: Tx, account_id: str, model: str) -> bool:
    """Remove a row; False without one."""
    sql = "DELETE FROM model_prices WHERE account_id = $1 AND model = $2"
    return await tx.execute(sql, account_id, model) > 0


def _check(model: str, price: Price) -> None:
    if not model or "\x00" in model:
        raise Invalid("model must name a model.")
    if price.input <= 0 or price.output <= 0:
        raise Invalid("input_price and output_price must be positive numbers of micro-USD per million tokens.")
    if price.cache_read is not None and not 0 <= price.cache_read <= price.input:
        raise Invalid("cache_read_price must be between 0 and input_price.")
    if max(price.input, price.output) > MAX_PRICE:
        raise Invalid(f"Prices may be at most {MAX_PRICE} micro-USD per million tokens.")


MAX_PRICE: Final = 10**12
"""A million USD per million tokens: beyond it a price is a typing error."""


def _price(row: Row) -> Price:
    return Price(
        cast(int, row["input_price"]), cast(int, row["output_price"]), cast("int | None", row["cache_read_price"])
    )
