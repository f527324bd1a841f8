"""`admin accounts create`: a local account with a password that is asked for, read, or made up."""

from __future__ import annotations

import secrets
import sys
from typing import TYPE_CHECKING, Final

import click

from server.accounts.local_login import LocalLogin, SignUpRefused
from server.accounts.passwords import PasswordHasher
from server.accounts.users import User
from server.administration import accounts as views
from server.administration.accounts import AccountActs
from server.administration.operator import AuditedStore
from server.cli.admin.account_view import account_data, account_facts
from server.cli.admin.screen import Answer, Screen
from server.cli.admin.session import Desk, Refusal, is_terminal, json_option, run

if TYPE_CHECKING:
    from server.administration.audit import Facts

PASSWORD_BYTES: Final = 15


@click.command()
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
