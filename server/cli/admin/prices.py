"""`admin prices …`: the platform's prices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from server.administration import accounts as views
from server.administration.prices import PriceActs
from server.billing.amounts import AmountError, parse_usd, price_usd
from server.billing.ledger import PLATFORM
from server.billing.price_book import list_prices
from server.billing.prices import FALLBACK_PRICE, Price
from server.cli.admin.screen import Answer, Screen
from server.cli.admin.session import Desk, json_option, run

if TYPE_CHECKING:
    from server.store import Tx


@click.group()
def prices() -> None:
    """Set what models cost.

    Prices are US dollars per million tokens; MODEL is a concrete build, not an alias.
    """


@prices.command("list")
@click.argument("who", default="")
@json_option
def list_all(who: str, as_json: bool) -> int:
    """List the platform's prices, or those that the machine owner WHO has set for himself."""

    async def look(tx: Tx) -> list[tuple[str, Price]]:
        return await list_prices(tx, await views.resolve(tx, who) if who else PLATFORM)

    async def work(desk: Desk) -> Answer:
        found = await desk.operator.read(look)

        def show(screen: Screen) -> None:
            if found:
                screen.table(
                    ("model", "input", "output", "cached input"),
                    [(model, *_row(price)) for model, price in found],
                    right=("input", "output", "cached input"),
                    whole=("input", "output", "cached input"),
                )
            fallback = f"{price_usd(FALLBACK_PRICE.input)} input, {price_usd(FALLBACK_PRICE.output)} output"
            if not who:
                screen.line(f"All other models cost {fallback} (US dollars per million tokens).")
            elif not found:
                screen.line("This account has set no prices.")

        data = {
            "prices": [_data(model, price) for model, price in found],
            "fallback_input_price": FALLBACK_PRICE.input,
            "fallback_output_price": FALLBACK_PRICE.output,
        }
        return Answer(data=data, show=show)

    return run(work, as_json=as_json, reads=True)


@prices.command("set")
@click.argument("model")
@click.option("--input", "input_usd", required=True, metavar="USD", help="Per million prompt tokens, such as 0.05.")
@click.option("--output", "output_usd", required=True, metavar="USD", help="Per million output tokens.")
@click.option(
    "--cache-read", "cache_usd", metavar="USD", help="Per million cached prompt tokens; derived unless given."
)
@json_option
def set_price(model: str, input_usd: str, output_usd: str, cache_usd: str | None, as_json: bool) -> int:
    """Set the platform's price of MODEL."""
    cache = None if cache_usd is None else micro_price("--cache-read", cache_usd)
    price = Price(micro_price("--input", input_usd), micro_price("--output", output_usd), cache)

    async def work(desk: Desk) -> Answer:
        await PriceActs(desk.operator).set(desk.actor, model, price)
        said = f"{model} costs {price_usd(price.input)} input and {price_usd(price.output)} output per million tokens."
        running = " Running coordinators follow within 30 seconds."
        return Answer(data=_data(model, price), show=lambda screen: screen.line(said + running))

    body = f'{{"model": "{model}", "input_price": {price.input}, "output_price": {price.output}}}'
    return run(work, as_json=as_json, over_http=f"PUT /v1/admin/pricing {body}")


@prices.command()
@click.argument("model")
@json_option
def delete(model: str, as_json: bool) -> int:
    """Remove the platform's price of MODEL, which then costs what all other models cost."""

    async def work(desk: Desk) -> Answer:
        await PriceActs(desk.operator).delete(desk.actor, model)
        return Answer(
            data={"model": model, "status": "deleted"},
            show=lambda screen: screen.line(f"{model} has no price of its own any more."),
        )

    return run(work, as_json=as_json, over_http=f'DELETE /v1/admin/pricing {{"model": "{model}"}}')


def micro_price(option: str, text: str) -> int:
    """Read US dollars per million tokens, exactly; a finer price than a micro-USD is refused."""
    try:
        amount = parse_usd(text)
    except AmountError as error:
        raise click.UsageError(f"{option}: {error}") from None
    if len(text.strip().partition(".")[2]) > 6:
        raise click.UsageError(f"{option}: A price has at most six decimals.")
    return amount


def _row(price: Price) -> tuple[str, str, str | None]:
    cached = None if price.cache_read is None else price_usd(price.cache_read)
    return price_usd(price.input), price_usd(price.output), cached


def _data(model: str, price: Price) -> dict[str, object]:
    return {
        "model": model,
        "input_price": price.input,
        "output_price": price.output,
        "cache_read_price": price.cache_read,
        "input_usd": price_usd(price.input),
        "output_usd": price_usd(price.output),
    }
