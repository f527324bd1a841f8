"""The group of all admin commands; each is loaded when it is called, so that other commands start fast."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Final

import click

_COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "accounts": ("accounts", "accounts"),
    "aliases": ("aliases", "aliases"),
    "audit": ("audit", "audit_log"),
    "credit": ("grants", "credit"),
    "invites": ("invites", "invites"),
    "keys": ("keys", "keys"),
    "ledger": ("ledger", "ledger"),
    "models": ("models", "models"),
    "payouts": ("payouts", "payouts"),
    "prices": ("prices", "prices"),
    "publishing-keys": ("publishing", "publishing_keys"),
    "releases": ("releases", "releases"),
    "reward": ("grants", "reward"),
    "setup-token": ("setup_token", "setup_token"),
    "tokens": ("tokens", "tokens"),
}


class _AdminGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        found: click.Command = getattr(import_module(f"server.cli.admin.{module}"), name)
        return found


@click.group(cls=_AdminGroup)
def admin() -> None:
    """Manage accounts, keys, prices and money on the configured database.

    WHO is an account id, a login, a verified e-mail address or an identity provider's id. Every change leaves a row in
    the audit. Exit codes: 0 done, 1 refused or failed, 2 configuration, 64 usage.
    """
