"""`admin accounts …`: find, show and make accounts; role, fee and administrators."""

from __future__ import annotations

import secrets
import sys
from typing import TYPE_CHECKING, Final

import click

from server.accounts.local_login import LocalLogin, SignUpRefused
from server.accounts.passwords import PasswordHasher
from server.accounts.users import User
from server.administration import accounts as views
from server.administration import keys as key_views
from server.administration.accounts import AccountActs, AccountView
from server.administration.entries import newest_entries
from server.administration.operator import AuditedStore
from server.cli.admin.keys import key_data, key_table
from server.cli.admin.ledger import entry_data, entry_table
from server.cli.admin.screen import Answer, Screen, minute, money, time
from server.cli.admin.session import Desk, Refusal, is_terminal, json_option, named, run

if TYPE_CHECKING:
    from server.administration.audit import Facts
    from server.administration.entries import LedgerLine
    from server.administration.keys import KeyView
    from server.store import Tx

PASSWORD_BYTES: Final = 15
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
@click.argument("login")
@click.option("--admin", "is_admin", is_flag=True, help="Make an administrator.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option("--generate-password", is_flag=True, help="Make up a password and show it once.")
@json_option
def create(login: str, is_admin: bool, password_stdin: bool, generate_password: bool, as_json: bool) -> int:
    """Make a local account that signs in with LOGIN and a password."""
    password = _password(from_stdin=password_stdin, generated=generate_password)

    async def work(desk: Desk) -> Answer:
        account_id = await _create(desk, login, password)
        if is_admin:
            await AccountActs(desk.operator).set_admin(desk.actor, account_id, True)
        account = await desk.operator.read(lambda tx: views.view(tx, account_id))

        def show(screen: Screen) -> None:
            screen.line(f"Made the account {account.login}.")
            screen.facts(account_facts(account))
            if generate_password:
                screen.secret(password, "This is the password; it is shown this one time.")
            if not desk.settings.local_auth_on:
                screen.line(
                    "Passwords do not sign in while Privy is configured; set DARKBLOOM_LOCAL_AUTH=true.", "yellow"
                )

        data: dict[str, object] = {"account": account_data(account)}
        if generate_password:
            data["password"] = password
        steps = (
            f"darkbloom-coordinator admin credit {account.login} 5.00 --reason welcome",
            f"darkbloom-coordinator admin keys create {account.login} --name first",
        )
        return Answer(data=data, show=show, next_steps=steps)

    return run(work, as_json=as_json)


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


def account_data(account: AccountView) -> dict[str, object]:
    """Describe an account as JSON; what can be spent and withdrawn is without what running requests hold."""
    return {
        "account_id": account.account_id,
        "external_id": account.external_id,
        "login": account.login,
        "email": account.email,
        "email_verified": account.verified,
        "role": account.role,
        "is_admin": account.is_admin,
        "fee_percent": account.fee_percent,
        "stripe_account_status": account.stripe_status,
        "live_keys": account.live_keys,
        "machine_tokens": account.machine_tokens,
        "balance_micro_usd": account.balance - account.held,
        "withdrawable_micro_usd": account.withdrawable - account.held_withdrawable,
        "held_micro_usd": account.held,
        "created_at": time(account.created_at),
    }


def account_facts(account: AccountView) -> list[tuple[str, object]]:
    """Describe an account to a person."""
    address = account.email and f"{account.email} ({'verified' if account.verified else 'not verified'})"
    return [
        ("account", account.account_id),
        ("login", account.login),
        ("e-mail", address),
        ("identity", account.external_id),
        ("role", account.role or "normal"),
        ("administrator", account.is_admin),
        ("platform fee", "default" if account.fee_percent is None else f"{account.fee_percent} %"),
        ("balance", money(account.balance - account.held)),
        ("  of it withdrawable", money(account.withdrawable - account.held_withdrawable)),
        ("  held by requests", money(account.held)),
        ("payouts", account.stripe_status or "not set up"),
        ("live keys", account.live_keys),
        ("linked machines", account.machine_tokens),
        ("made", time(account.created_at)),
    ]


def _roles(account: AccountView) -> str:
    return " ".join(name for name in (account.role, "admin" if account.is_admin else "") if name)


def _changed(account: AccountView, said: str) -> Answer:
    return Answer(data={"account": account_data(account)}, show=lambda screen: screen.line(said))


async def _create(desk: Desk, login: str, password: str) -> str:
    def describe(result: object) -> tuple[str, Facts]:
        assert isinstance(result, User)
        return result.account_id, {"login": login}

    store = AuditedStore(
        desk.store, actor=desk.actor, action="account.create", describe=describe, wall_clock=desk.wall_clock
    )
    local = LocalLogin(store, hasher=PasswordHasher(), sign_up="open", wall_clock=desk.wall_clock)
    try:
        return (await local.join(login, password)).account_id
    except SignUpRefused as refusal:
        raise Refusal("signup_refused", str(refusal)) from None


def _password(*, from_stdin: bool, generated: bool) -> str:
    if from_stdin and generated:
        raise click.UsageError("--password-stdin and --generate-password exclude each other.")
    if generated:
        return secrets.token_urlsafe(PASSWORD_BYTES)
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not is_terminal():
        raise click.UsageError(
            "There is no terminal to ask for a password; use --password-stdin or --generate-password."
        )
    found: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return found


def _percent(text: str) -> int | None:
    if text == "default":
        return None
    if not text.isascii() or not text.isdigit() or not 0 <= int(text[:4]) <= 100:
        raise click.UsageError("PERCENT must be a whole number from 0 to 100, or `default`.")
    return int(text)
