"""`darkbloom login`: link this machine to an account, after a person has approved its code."""

import sys
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from provider.cli.account import coordinator_option, door_base, json_option, print_json, read_settings
from provider.cli.examples import examples
from provider.cli.exits import OK, CommandFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider.account import CoordinatorDoor, Linked, TokenFile, UserCode
    from provider.config import ProviderSettings


@click.command(name="login", epilog=examples("darkbloom login --coordinator https://HOST"))
@coordinator_option
@click.option("--no-open", is_flag=True, help="Open no browser; where a terminal has none, none is opened anyway.")
@json_option
def command(coordinator: str | None, no_open: bool, as_json: bool) -> int:
    """Link this machine to your account: shows a code and where to approve it, and waits until you did.

    The token is kept in the file auth_token of the provider's home, for you alone. A provider that runs already
    registers with it as soon as no request runs.
    """
    import trio

    from provider.account import TokenFile, TokenFileRefused

    settings = read_settings(coordinator)
    base = door_base(settings, command="login")
    file = TokenFile(settings.state_directory)
    if file.exists:
        raise _already(file)
    try:
        file.make_room()
    except TokenFileRefused as refused:
        raise CommandFailed(str(refused)) from None
    show = _show_json if as_json else _show_sentences if no_open else _show_and_open
    linked = trio.run(_log_in, base, file, show)
    told = _tell_daemon(settings)
    if as_json:
        print_json({"status": "linked", "account_id": linked.account_id, "token_file": file.path})
    else:
        click.echo(f"This machine is linked to the account {linked.account_id}.")
        if told:
            click.echo("The running provider registers with it as soon as no request runs.")
    return OK


def _tell_daemon(settings: "ProviderSettings") -> bool:
    """Let a provider that runs take the new token; False when none runs."""
    from provider.control import ControlFailed, NotRunning, ReloadAuth, ask

    try:
        return ask(settings.state_directory, ReloadAuth()).done
    except (ControlFailed, NotRunning):
        return False


async def _log_in(base: str, file: "TokenFile", show: "Callable[[UserCode], None]") -> "Linked":
    import trio

    from provider.account import CoordinatorDoor, LoginFailed, MachineToken, TokenFileExists, log_in
    from provider.account.visitor import chip_label, host_label

    chip = await trio.to_thread.run_sync(chip_label)
    async with CoordinatorDoor.open(base) as door:
        try:
            linked = await log_in(door, client_label=host_label(), chip=chip, show=show)
        except LoginFailed as failed:
            raise CommandFailed(str(failed), fix="darkbloom login") from None
        try:
            file.write(MachineToken(linked.token, base))
        except TokenFileExists:
            await _give_back(door, linked.token)
            raise _already(file) from None
        except OSError as error:
            await _give_back(door, linked.token)
            raise CommandFailed(f"The token file {file.path} cannot be written ({error.strerror}).") from None
        return linked


async def _give_back(door: "CoordinatorDoor", token: str) -> None:
    """Revoke a token that could not be kept; where that fails too, it stays in the person's list of tokens."""
    from provider.account import DoorFailed

    with suppress(DoorFailed):
        if await door.revoke(token) is None:
            return
    click.echo("warning: the new token could not be revoked; remove it from the list of your machines.", err=True)


def _already(file: "TokenFile") -> CommandFailed:
    return CommandFailed(
        f"This machine has a token already ({file.path}); a machine belongs to one account.", fix="darkbloom logout"
    )


def _show_sentences(code: "UserCode") -> None:
    click.echo(f"Your code: {code.user_code}")
    click.echo(f"Approve it at: {code.verification_uri}")
    if code.verification_uri_complete:
        click.echo(f"Or open: {code.verification_uri_complete}")
    click.echo(f"Waiting for {code.expires_in_seconds / 60:.0f} minutes at most; Ctrl-C gives up.")


def _show_and_open(code: "UserCode") -> None:
    """Show the code, and its page in the browser of a person who sits at this machine."""
    import webbrowser

    from provider.config.terminal import has_desktop

    _show_sentences(code)
    page = code.verification_uri_complete or code.verification_uri
    if sys.stdout.isatty() and has_desktop() and urlsplit(page).scheme in ("http", "https"):
        with suppress(webbrowser.Error):
            webbrowser.open(page)


def _show_json(code: "UserCode") -> None:
    print_json(
        {
            "status": "waiting",
            "user_code": code.user_code,
            "verification_uri": code.verification_uri,
            "verification_uri_complete": code.verification_uri_complete,
            "expires_in": code.expires_in_seconds,
        }
    )
