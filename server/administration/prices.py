"""The platform's prices, set and removed by operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.administration.operator import Deed, Operator
from server.billing.ledger import PLATFORM
from server.billing.price_book import delete_price, read_price, write_price
from server.store import NotFound

if TYPE_CHECKING:
    from server.billing.prices import Price
    from server.store import Tx


class PriceActs:
    """What operators do to prices; raises Invalid, NotFound, StoreUnavailable.

    A price book of this process must be told afterwards (`PriceBook.forget`); others follow within 30 seconds.
    """

    def __init__(self, operator: Operator) -> None:
        self._operator = operator

    async def set(self, actor: str, model: str, price: Price) -> None:
        """Write the platform's price of a model."""

        async def work(tx: Tx, now: int) -> Deed[None]:
            before = await read_price(tx, PLATFORM, model)
            await write_price(tx, PLATFORM, model, price, now)
            return Deed(None, model, _facts(before), _facts(price))

        await self._operator.act(actor, "price.set", work)

    async def delete(self, actor: str, model: str) -> None:
        """Remove the platform's price of a model, which then costs the fallback."""

        async def work(tx: Tx, _now: int) -> Deed[None]:
            before = await read_price(tx, PLATFORM, model)
            if not await delete_price(tx, PLATFORM, model):
                raise NotFound(f"There is no platform price for the model {model[:100]!r}.")
            return Deed(None, model, _facts(before))

        await self._operator.act(actor, "price.delete", work)


def _facts(price: Price | None) -> dict[str, object]:
    return {} if price is None else {"input": price.input, "output": price.output, "cache_read": price.cache_read}
