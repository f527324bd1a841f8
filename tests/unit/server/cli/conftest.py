"""A terminal on an empty, migrated database of each engine."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.testbed.needs import absent
from tests.testbed.postgres_server import NoServer
from tests.testbed.store import postgres_database
from tests.unit.server.cli.terminal import Terminal


@pytest.fixture(params=["sqlite", "postgres"])
async def admin(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Terminal]:
    """A terminal on an empty, migrated database."""
    if request.param == "sqlite":
        terminal = Terminal(f"sqlite:///{tmp_path / 'data.db'}")
        await terminal.migrate()
        yield terminal
        return
    try:
        async with postgres_database() as url:
            yield Terminal(url)
    except NoServer as problem:
        absent(problem)
