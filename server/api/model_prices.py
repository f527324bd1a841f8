"""What models cost, as the model lists show it: the platform's prices, read at most every few seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from protocol.api.models import ModelPrice
from server.rewards.public_cache import PublicCache
from server.store import StoreUnavailable

if TYPE_CHECKING:
    from server.billing.price_book import PriceBook
    from server.billing.prices import Tariff

FRESH_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Prices by build; `fallback` is that of all others, None where nothing is known."""

    prices: Mapping[str, ModelPrice] = field(default_factory=dict)
    fallback: ModelPrice | None = None

    def of(self, build: str) -> ModelPrice | None:
        """The price of a build."""
        return self.prices.get(build, self.fallback)


NO_PRICES: Final = PriceTable()


class ModelPrices:
    """Reads the price list; `clock` is monotonic seconds."""

    def __init__(self, book: PriceBook, tariff: Tariff, *, clock: Callable[[], float]) -> None:
        self._book = book
        base = tariff.fallback
        self._fallback = _shown(base.input, base.output, tariff.cache_read_rate(base))
        self._cache: PublicCache[PriceTable] = PublicCache(seconds=FRESH_SECONDS, clock=clock)

    async def table(self) -> PriceTable:
        """All prices; none while the database is away and nothing was read before."""
        try:
            return await self._cache.get("", self._read)
        except StoreUnavailable:
            return NO_PRICES

    async def of_output(self) -> Callable[[str], float]:
        """What a million output tokens of a build cost, in micro-USD; 1 where nothing is known or nothing is asked."""
        table = await self.table()

        def price(build: str) -> float:
            known = table.of(build)
            return 1.0 if known is None else max(1.0, known.output_micro_usd)

        return price

    async def _read(self) -> PriceTable:
        rows = await self._book.listing()
        return PriceTable({row.model: _shown(row.input, row.output, row.cache_read) for row in rows}, self._fallback)


def _shown(read: int, written: int, cached: int) -> ModelPrice:
    return ModelPrice(input_micro_usd=read, output_micro_usd=written, cache_read_micro_usd=cached)
