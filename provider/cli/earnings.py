"""`darkbloom earnings`: balances and the last payments of this machine's account."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, cast

import click

from provider.cli.account import coordinator_option
from provider.cli.examples import examples
from provider.cli.exits import OK, CommandFailed
from provider.cli.session import configured, json_option, print_json
from provider.cli.upstream import base_of, token_for

if TYPE_CHECKING:
    from provider.upstream import HttpAnswer

PATH = "/v1/provider/account-earnings"
SHOWN = 10


@click.command(name="earnings", epilog=examples("darkbloom earnings", "darkbloom earnings --json --limit 100"))
@click.option("--limit", type=click.IntRange(1, 1000), default=1000, show_default=True, help="Rows to ask for.")
@coordinator_option
@json_option
def command(limit: int, coordinator: str | None, as_json: bool) -> int:
    """Show what the account of this machine has earned; amounts are in US dollars."""
    from provider.upstream import Upstream, UpstreamUnreachable

    configuration = configured({"DARKBLOOM_COORDINATOR_URL": coordinator}, quiet=as_json)
    base = base_of(configuration, command="earnings")
    token = token_for(configuration, base)
    try:
        with Upstream(base) as upstream:
            answer = upstream.get(PATH, token=token, query={"limit": str(limit)})
    except UpstreamUnreachable as unreachable:
        raise CommandFailed(str(unreachable), fix="darkbloom doctor") from None
    _check(answer)
    if as_json:
        print_json(dict(answer.content))
    else:
        _print(answer.content)
    return OK


def _check(answer: "HttpAnswer") -> None:
    if answer.status in (401, 403):
        raise CommandFailed(
            "The login of this machine is no longer valid.", fix="darkbloom logout, then darkbloom login"
        )
    if answer.status != 200:
        raise CommandFailed(answer.error_text or f"The coordinator answered {answer.status}.", fix="darkbloom doctor")


def _print(content: Mapping[str, object]) -> None:
    click.echo(f"Account:      {_text(content.get('account_id'))}")
    for label, name in (
        ("Available:   ", "available_balance_micro_usd"),
        ("Withdrawable:", "withdrawable_balance_micro_usd"),
        ("Earned:      ", "total_micro_usd"),
    ):
        if name in content:
            click.echo(f"{label} {_dollars(content[name])}")
    count = content.get("count", content.get("total_count"))
    if isinstance(count, int):
        click.echo(f"Jobs:         {count:,}")
    rows = content.get("earnings")
    if isinstance(rows, list) and rows:
        click.echo("\nLatest:")
        for row in cast(Sequence[object], rows)[:SHOWN]:
            if isinstance(row, dict):
                amount = _dollars(row.get("amount_micro_usd"))
                click.echo(f"  {_text(row.get('created_at')):<26} {amount:>14}  {_text(row.get('model'))}")


def _dollars(amount: object) -> str:
    if not isinstance(amount, int):
        return "-"
    return f"${Decimal(amount).scaleb(-6):,.6f}"


def _text(value: object) -> str:
    text = value if isinstance(value, str) else ""
    return "".join(character for character in text[:80] if character.isprintable()) or "-"
