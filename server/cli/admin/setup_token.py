"""`admin setup-token`: the link that makes a fresh installation's first administrator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from server.accounts.first_admin import sign_up_command
from server.accounts.local_login import SETUP_TOKEN_LIVES, LocalLogin
from server.accounts.passwords import PasswordHasher
from server.administration.operator import AuditedStore
from server.cli.admin.screen import Answer, Screen, time
from server.cli.admin.session import Desk, Refusal, json_option, run

if TYPE_CHECKING:
    from server.administration.audit import Facts


@click.command("setup-token")
@json_option
def setup_token(as_json: bool) -> int:
    """Make the first administrator's link.

    It works once, for an hour, and only while there are no accounts.
    """

    async def work(desk: Desk) -> Answer:
        def describe(made: object) -> tuple[str, Facts] | None:
            return ("first administrator", {}) if made else None

        store = AuditedStore(
            desk.store, actor=desk.actor, action="setup_token.create", describe=describe, wall_clock=desk.wall_clock
        )
        local = LocalLogin(store, hasher=PasswordHasher(), sign_up="closed", wall_clock=desk.wall_clock)
        expires = time(desk.wall_clock() + SETUP_TOKEN_LIVES)
        token = await local.new_setup_token()
        if token is None:
            text = (
                "There are accounts already, so there is no setup link any more; make an administrator with "
                "`darkbloom-coordinator admin accounts create LOGIN --admin`."
            )
            raise Refusal("conflict", text)
        origin = desk.settings.console_url or desk.settings.base_url or f"http://127.0.0.1:{desk.settings.port}"
        url = f"{origin.rstrip('/')}/login?setup={token}"

        def show(screen: Screen) -> None:
            screen.secret(url, f"Open it in a browser before {expires}. Whoever opens it becomes the administrator.")

        command = sign_up_command(origin, token)
        data = {"url": url, "command": command, "expires_at": expires}
        return Answer(data=data, show=show, next_steps=(f"without the web console: {command}",))

    return run(work, as_json=as_json)
