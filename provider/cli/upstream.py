"""The coordinator's HTTP address and this machine's token, for commands that ask it something."""

from typing import TYPE_CHECKING

from provider.cli.account import door_base
from provider.cli.exits import CommandFailed

if TYPE_CHECKING:
    from provider.config import Configuration


def base_of(configuration: "Configuration", *, command: str) -> str:
    """Give the HTTP address of the coordinator; raises `CommandFailed`."""
    return door_base(configuration.settings, command=command)


def token_for(configuration: "Configuration", base: str) -> str:
    """Give this machine's token; raises `CommandFailed` without one, or when another coordinator gave it."""
    from provider.account import TokenFile, TokenFileRefused

    try:
        token = TokenFile(configuration.settings.state_directory).read()
    except TokenFileRefused as refused:
        raise CommandFailed(str(refused)) from None
    if token is None:
        raise CommandFailed("This machine is not linked to an account.", fix="darkbloom login")
    if token.coordinator and token.coordinator != base:
        raise CommandFailed(
            f"The token of this machine was given by {token.coordinator} and is not shown to {base}.",
            fix="darkbloom logout, then darkbloom login",
        )
    return token.secret
