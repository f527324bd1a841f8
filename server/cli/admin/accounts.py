"""`admin accounts …`: find, show, suspend and merge accounts; role, fee and administrators."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import click

from server.administration import accounts as views
from server.administration import keys as key_views
from server.administration.accounts import AccountActs, AccountView
from server.administration.entries import newest_entries
from server.administration.moves import MoveActs
from server.api.admin_accounts import moved_answer
from server.cli.admin.account_create import create
from server.cli.admin.account_view import account_data, account_facts
from server.cli.admin.keys import key_data, key_table
from server.cli.admin.ledger import entry_data, entry_table
from server.cli.admin.screen import Answer, Screen, minute, money
from server.cli.admin.session import Desk, json_option, named, others_follow, run

if TYPE_CHECKING:
    from server.administration.entries import LedgerLine
    from server.administration.keys import KeyView
    from server.store import Tx

SHOWN_ENTRIES: Final = 10


@click.group()
def accounts() -> None:
    """Find, show and make accounts."""


@accounts.command()
@click.argument("text", default="")
@click.option("--limit", type=click.IntRange(1, views.MAX_FOUND), default=50, show_default=True)
@json_option
def find(text: str, limit: int, as_json: bool) -> int:
    """List accounts of which an id, an address or a login holds TEXT; without TEXT the newest ones."""

    async def work(desk: Desk) -> Answer:
        found = await desk.operator.read(lambda tx: views.search(tx, text, limit))

        def show(screen: Screen) -> None:
            if not found:
                screen.line("No account matches." if text else "There are no accounts yet.")
                return
            screen.table(
                ("account", "name", "role", "balance", "made (UTC)"),
                [
                    (
                        one.account_id,
                        one.name,
                        _roles(one),
                        money(one.balance - one.held),
                        minute(one.created_at),
                    )
                    for one in found
                ],
                right=("balance",),
                whole=("account", "made (UTC)"),
            )

        steps = () if found or text else ("darkbloom-coordinator admin accounts create LOGIN --admin",)
        return Answer(data={"accounts": [account_data(one) for one in found]}, show=show, next_steps=steps)

    return run(work, as_json=as_json, reads=True)


@accounts.command()
@click.argument("who")
@json_option
def show(who: str, as_json: bool) -> int:
    """Show an account: balance, keys, newest ledger entries."""

    async def look(tx: Tx) -> tuple[AccountView, list[KeyView], list[LedgerLine]]:
        account_id = await views.resolve(tx, who)
        return (
            await views.view(tx, account_id),
            await key_views.listing(tx, account_id),
            await newest_entries(tx, account_id, SHOWN_ENTRIES),
        )

    async def work(desk: Desk) -> Answer:
        account, keys, entries = await desk.operator.read(look)
        now = desk.wall_clock()

        def show(screen: Screen) -> None:
            screen.facts(account_facts(account))
            if keys:
                key_table(screen, keys, now)
            if entries:
                entry_table(screen, entries)

        data = {
            "account": account_data(account),
            "keys": [key_data(key, now) for key in keys],
            "entries": [entry_data(entry) for entry in entries],
        }
        return Answer(data=data, show=show)

    return run(work, as_json=as_json, reads=True)


@accounts.command()
@click.argument("who")
@click.argument("role", type=click.Choice(["normal", "service"]))
@json_option
def role(who: str, role: str, as_json: bool) -> int:
    """Make WHO a wholesale partner (`service`: own rate limits, platform prices, no minimum charge) or `normal`."""

    async def work(desk: Desk) -> Answer:
        account = await AccountActs(desk.operator).set_role(desk.actor, who, "service" if role == "service" else "")
        return _changed(account, f"The role of {account.name} is {account.role or 'normal'}.")

    body = f'{{"account_id": "{named(who)}", "role": "{"service" if role == "service" else ""}"}}'
    return run(work, as_json=as_json, over_http=f"PUT /v1/admin/users/role {body}")


@accounts.command()
@click.argument("who")
@click.argument("percent")
@json_option
def fee(who: str, percent: str, as_json: bool) -> int:
    """Set the platform's share of what WHO's machines earn: 0 to 100 PERCENT, or `default`."""
    wanted = _percent(percent)

    async def work(desk: Desk) -> Answer:
        account = await AccountActs(desk.operator).set_fee(desk.actor, who, wanted)
        said = "the general one" if account.fee_percent is None else f"{account.fee_percent} %"
        return _changed(account, f"The platform's share of what {account.name} earns is {said}.")

    body = f'{{"account_id": "{named(who)}", "fee_percent": {"null" if wanted is None else wanted}}}'
    return run(work, as_json=as_json, over_http=f"PUT /v1/admin/users/platform-fee {body}")


@accounts.command(name="admin")
@click.argument("who")
@click.argument("state", type=click.Choice(["on", "off"]))
@json_option
def admin_mark(who: str, state: str, as_json: bool) -> int:
    """Make WHO an administrator (`on`), or an ordinary account again (`off`)."""

    async def work(desk: Desk) -> Answer:
        account = await AccountActs(desk.operator).set_admin(desk.actor, who, state == "on")
        said = "is an administrator" if account.is_admin else "is not marked as an administrator"
        return _changed(account, f"{account.name} {said}.")

    return run(work, as_json=as_json)


@accounts.command()
@click.argument("who")
@click.option("--reason", required=True, help="Why; for operators, WHO does not see it.")
@json_option
def suspend(who: str, reason: str, as_json: bool) -> int:
    """Refuse everything that WHO sends, unlink the machines, and pay nothing out.

    What runs ends well and is charged. Keys, tokens and money stay for `resume`.
    """

    async def work(desk: Desk) -> Answer:
        account = await AccountActs(desk.operator).suspend(desk.actor, who, reason)
        return _changed(account, f"{account.name} is suspended.{others_follow(desk)}")

    over_http = f"POST /v1/admin/users/{named(who)}/suspend {json.dumps({'reason': reason})}"
    return run(work, as_json=as_json, over_http=over_http)


@accounts.command()
@click.argument("who")
@json_option
def resume(who: str, as_json: bool) -> int:
    """Take the suspension of WHO back; machines link themselves at their next connection."""

    async def work(desk: Desk) -> Answer:
        account = await AccountActs(desk.operator).resume(desk.actor, who)
        return _changed(account, f"{account.name} is not suspended.")

    return run(work, as_json=as_json, over_http=f"POST /v1/admin/users/{named(who)}/resume")


@accounts.command()
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@json_option
def migrate(source: str, target: str, as_json: bool) -> int:
    """Move all money of the account FROM to the account TO, earned money as earned.

    FROM may be the `legacy:` account of a key without an owner; the key then belongs to TO. Refused while requests of
    FROM are running.
    """

    async def work(desk: Desk) -> Answer:
        moved = await MoveActs(desk.operator).migrate(desk.actor, source, target)

        def show(screen: Screen) -> None:
            screen.line(f"Moved {money(moved.amount)}, of which {money(moved.withdrawable)} withdrawable, to {target}.")
            if moved.key_id is not None:
                screen.line(f"The key {moved.key_id} belongs to {target} now.")

        return Answer(
            data=moved_answer(moved), show=show, next_steps=(f"darkbloom-coordinator admin ledger show {target}",)
        )

    over_http = f"POST /v1/admin/users/{named(source)}/migrate {json.dumps({'to': named(target)})}"
    return run(work, as_json=as_json, over_http=over_http)


def _roles(account: AccountView) -> str:
    marks = ("admin" if account.is_admin else "", "suspended" if account.suspended_at is not None else "")
    return " ".join(name for name in (account.role, *marks) if name)


def _changed(account: AccountView, said: str) -> Answer:
    return Answer(data={"account": account_data(account)}, show=lambda screen: screen.line(said))


def _percent(text: str) -> int | None:
    if text == "default":
        return None
    if not text.isascii() or not text.isdigit() or not 0 <= int(text[:4]) <= 100:
        raise click.UsageError("PERCENT must be a whole number from 0 to 100, or `default`.")
    return int(text)


accounts.add_command(create)
