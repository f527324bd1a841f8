"""What an operator is told at the start while nobody can use the coordinator: how to make the first administrator.

The set-up token is a secret: it is written to a terminal, where somebody sits, and never to the log.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TextIO

from server.accounts import users
from server.accounts.first_admin import CREATE, sign_up_command
from server.store import StoreUnavailable

if TYPE_CHECKING:
    from server.accounts.local_login import LocalLogin
    from server.config import CoordinatorSettings
    from server.store import Store

_log = logging.getLogger("darkbloom.serve")


async def tell_first_steps(
    store: Store,
    local: LocalLogin | None,
    settings: CoordinatorSettings,
    *,
    url: str,
    throwaway: bool,
    terminal: TextIO | None,
) -> None:
    """Say how the first person gets in, unless somebody can: an account, a listed API key, an identity provider.

    `url` is where this coordinator listens; `terminal` is None where nobody would see it. `throwaway`: the store lives
    in this process alone.
    """
    if local is None or settings.api_keys:
        return
    try:
        if await store.read(users.any_exists):
            return
        token = None if terminal is None else await local.new_setup_token()
    except StoreUnavailable:
        return
    _log.warning("nobody has an account here yet: %s", first_step(store.kind, throwaway=throwaway))
    if terminal is not None and token is not None:
        terminal.write(sign_up_text(url, token))
        terminal.flush()


def first_step(kind: str, *, throwaway: bool) -> str:
    """Tell what to do, for a store of this kind."""
    if throwaway:
        return "set DARKBLOOM_API_KEYS for a trial, or DARKBLOOM_DATABASE_URL for accounts that stay"
    if kind == "sqlite":
        return f"stop the coordinator, run `{CREATE}` with the same settings, and start it again"
    return f"run `{CREATE}` with the same settings"


def sign_up_text(url: str, token: str) -> str:
    """Give the request that makes the first administrator while the coordinator runs."""
    return (
        "Nobody has an account here yet. This makes the first administrator; it works once, within an hour. Put a name "
        "and a password of 10 characters or more into it:\n"
        f"  {sign_up_command(url, token)}\n"
    )
