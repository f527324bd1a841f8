"""`darkbloom logout`: revoke this machine's token at the coordinator, then remove its file."""

from typing import TYPE_CHECKING

import click

from provider.cli.account import coordinator_option, door_base, json_option, print_json, read_settings
from provider.cli.examples import examples
from provider.cli.exits import OK, CommandFailed

if TYPE_CHECKING:
    from pathlib import Path


@click.command(name="logout", epilog=examples("darkbloom logout"))
@coordinator_option
@json_option
def command(coordinator: str | None, as_json: bool) -> int:
    """Unlink this machine from its account: the token is revoked first, then its file is removed.

    The coordinator that gave the token is asked, unless --coordinator names another address for it. Live connections
    lose the account at once. When the coordinator does not answer, the file stays.
    """
    import trio

    from provider.account import TokenFile, TokenFileRefused

    settings = read_settings(coordinator)
    file = TokenFile(settings.state_directory)
    try:
        token = file.read()
    except TokenFileRefused as refused:
        raise CommandFailed(str(refused)) from None
    if token is None:
        _tell(as_json, "not_linked", "This machine is not linked to an account; there is nothing to do.")
        return OK
    base = token.coordinator if token.coordinator and coordinator is None else door_base(settings, command="logout")
    trio.run(_revoke, base, token.secret, file.path)
    try:
        file.remove()
    except OSError as error:
        raise CommandFailed(
            f"The token is revoked, but its file {file.path} cannot be removed ({error.strerror}).",
            fix=f"rm {file.path}",
        ) from None
    _tell(as_json, "unlinked", "This machine is not linked to an account any more.")
    return OK


async def _revoke(base: str, secret: str, path: "Path") -> None:
    from provider.account import CoordinatorDoor, DoorFailed

    try:
        async with CoordinatorDoor.open(base) as door:
            refusal = await door.revoke(secret)
    except DoorFailed as failed:
        text = str(failed)
    else:
        if refusal is None:
            return
        text = refusal.text
    raise CommandFailed(
        f"{text} The token was not revoked and stays in {path}.",
        fix="darkbloom logout (again, or revoke the token in the list of your machines and remove the file)",
    )


def _tell(as_json: bool, status: str, sentence: str) -> None:
    if as_json:
        print_json({"status": status})
    else:
        click.echo(sentence)
