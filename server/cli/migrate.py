"""`darkbloom-coordinator migrate`: bring the database to the current schema and end."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import click

from server.cli.loading import EXIT_CONFIGURATION, EXIT_OK, EXIT_RUN, load_or_exit

if TYPE_CHECKING:
    from server.store.address import Address


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def migrate(as_json: bool) -> int:
    """Apply missing migrations to the configured database. Exit: 0 done, 1 the database refused, 2 none configured."""
    import trio

    from server.store.address import Memory, parse_address
    from server.store.errors_at_start import StoreCannotOpen, StoreNotConfigured

    settings = load_or_exit().settings
    url = None if settings.database_url is None else settings.database_url.reveal()
    try:
        address = parse_address(url, allow_memory=settings.allow_memory_store)
    except StoreNotConfigured as problem:
        click.echo(str(problem), err=True)
        return EXIT_CONFIGURATION
    if isinstance(address, Memory):
        click.echo("A store in memory has nothing to migrate; set DARKBLOOM_DATABASE_URL.", err=True)
        return EXIT_CONFIGURATION
    try:
        before, after = trio.run(_migrate, address)
    except StoreCannotOpen as problem:
        click.echo(str(problem), err=True)
        return EXIT_RUN
    applied = after[len(before) :]
    if as_json:
        click.echo(json.dumps({"database": str(address), "applied": list(applied), "version": len(after)}))
    else:
        for name in applied:
            click.echo(f"applied {name}")
        click.echo(f"{address} is at {after[-1]}" + ("" if applied else ", nothing to do"))
    return EXIT_OK


async def _migrate(address: Address) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the labels of the migrations in the database before and after."""
    from server.store.address import Memory
    from server.store.inspect import inspect_database
    from server.store.open import opened

    assert not isinstance(address, Memory)
    before = await inspect_database(address)
    async with opened(address, wall_clock=lambda: time.time_ns() // 1000):
        after = await inspect_database(address)
    return tuple(done.label for done in before.applied), tuple(done.label for done in after.applied)
