"""Settings of the database."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from protocol.settings import Secret, boolean, secret, setting
from server.store.address import parse_address
from server.store.errors_at_start import StoreNotConfigured


@dataclass(frozen=True, kw_only=True)
class StoreSettings:
    """The URL is a secret: it may hold a password."""

    # --- database ---
    database_url: Secret | None = setting(
        "DATABASE_URL",
        secret(),
        default=None,
        group="Database",
        meaning="`postgresql://user:password@host/name`, `sqlite:///relative/path.db` or `sqlite:////absolute/path.db`.",
    )
    allow_memory_store: bool = setting(
        "ALLOW_MEMORY_STORE",
        boolean(),
        default=False,
        group="Database",
        meaning="Without a URL, keep everything in memory until the process ends; otherwise it does not start.",
    )


def store_problems(settings: StoreSettings) -> Iterable[str]:
    """Name what is wrong with the URL; that there is none matters only to commands that open the store."""
    if settings.database_url is not None:
        try:
            parse_address(settings.database_url.reveal(), allow_memory=True)
        except StoreNotConfigured as problem:
            yield str(problem)
