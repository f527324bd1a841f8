"""`/v1/pricing`: what models cost, for everybody; and the prices that machine owners set for themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import trio
from quart import Blueprint

from protocol.api.errors import invalid_request
from server.accounts.guards import require_user
from server.api.gate import answer_store_outage, private_answer, read_object, text_member
from server.api.json_answer import json_answer
from server.api.row_errors import answer_row_errors
from server.billing.amounts import price_usd
from server.billing.prices import FALLBACK_PRICE, Price

if TYPE_CHECKING:
    from quart.wrappers import Response

    from server.api.gate import AccountGate
    from server.billing.price_book import PriceBook, PriceListing

MAX_MODEL: Final = 256
FRESH_SECONDS: Final = 5.0
PUBLIC: Final = {"Cache-Control": f"public, max-age={int(FRESH_SECONDS)}"}


class PriceList:
    """The public list, read at most every 5 seconds however many ask; a change here shows at once.

    `clock` is monotonic seconds.
    """

    def __init__(self, book: PriceBook, *, clock: Callable[[], float], fallback: Price = FALLBACK_PRICE) -> None:
        self._book = book
        self._clock = clock
        self._fallback = fallback
        self._lock = trio.Lock()
        self._answer: tuple[float, dict[str, object]] | None = None

    async def answer(self) -> dict[str, object]:
        """Give the list as the API shows it; raises StoreUnavailable."""
        async with self._lock:
            if self._answer is not None and self._clock() < self._answer[0]:
                return self._answer[1]
            until = self._clock() + FRESH_SECONDS
            found = self._described(await self._book.listing())
            self._answer = until, found
            return found

    def changed(self, account_id: str, model: str) -> None:
        """Read anew after a price was changed by other means than the book."""
        self._book.forget(account_id, model)
        self._answer = None

    def _described(self, rows: list[PriceListing]) -> dict[str, object]:
        return {
            "prices": [
                {
                    "model": row.model,
                    "input_price": row.input,
                    "output_price": row.output,
                    "cache_read_price": row.cache_read,
                    "input_usd": price_usd(row.input),
                    "output_usd": price_usd(row.output),
                    "cache_read_usd": price_usd(row.cache_read),
                }
                for row in rows
            ],
            "fallback_input_price": self._fallback.input,
            "fallback_output_price": self._fallback.output,
            "fallback_input_usd": price_usd(self._fallback.input),
            "fallback_output_usd": price_usd(self._fallback.output),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PricingServices:
    """What the endpoints work with."""

    gate: AccountGate
    book: PriceBook
    prices: PriceList


def pricing_blueprint(services: PricingServices) -> Blueprint:
    """Serve the public list, and own prices to whoever has a user account."""
    blueprint = Blueprint("pricing", __name__)
    gate, book = services.gate, services.book
    answer_store_outage(blueprint)
    answer_row_errors(blueprint)

    @blueprint.get("/v1/pricing")
    async def listing() -> Response:
        return json_answer(await services.prices.answer(), headers=PUBLIC)

    @blueprint.put("/v1/pricing")
    async def set_own() -> Response:
        caller = require_user(await gate.caller())
        model, price = read_price_fields(await read_object("invalid_request"))
        await book.set_own_price(caller.account_id, model, price)
        return private_answer(price_answer("updated", model, price))

    @blueprint.delete("/v1/pricing")
    async def delete_own() -> Response:
        caller = require_user(await gate.caller())
        model = read_model(await read_object("invalid_request"))
        await book.delete_own_price(caller.account_id, model)
        return private_answer({"status": "deleted", "model": model})

    return blueprint


def read_price_fields(body: Mapping[str, object]) -> tuple[str, Price]:
    """Read model and prices from a body; raises ApiError 400. Prices are micro-USD per million tokens."""
    cache = None if body.get("cache_read_price") is None else _whole(body, "cache_read_price")
    return read_model(body), Price(_whole(body, "input_price"), _whole(body, "output_price"), cache)


def read_model(body: Mapping[str, object]) -> str:
    """Read the model's name; raises ApiError 400."""
    return text_member(body, "model", "invalid_request", limit=MAX_MODEL).strip()


def price_answer(status: str, model: str, price: Price) -> dict[str, object]:
    """Describe a price that was set."""
    shown: dict[str, object] = {
        "status": status,
        "model": model,
        "input_price": price.input,
        "output_price": price.output,
        "input_usd": f"{price_usd(price.input)} per 1M tokens",
        "output_usd": f"{price_usd(price.output)} per 1M tokens",
    }
    if price.cache_read is not None:
        shown |= {
            "cache_read_price": price.cache_read,
            "cache_read_usd": f"{price_usd(price.cache_read)} per 1M tokens",
        }
    return shown


def _whole(body: Mapping[str, object], member: str) -> int:
    value = body.get(member)
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        value = int(value) if abs(value) < 10**15 else None
    if isinstance(value, bool) or not isinstance(value, int):
        text = f"{member} is needed, as a whole number of micro-USD per million tokens."
        raise invalid_request(text, param=member)
    return value
