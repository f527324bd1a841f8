"""A real provider process with the demo model, connected to a coordinator."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tests.testbed.processes import Child, child

DEMO_MODEL = "darkbloom-demo"


@asynccontextmanager
async def real_provider(
    home: Path,
    link_url: str,
    settings: Mapping[str, str] | None = None,
    *,
    name: str = "provider",
    module: str = "provider.cli",
) -> AsyncIterator[Child]:
    """Run `darkbloom start --foreground --model demo` for the length of the block; `module` is what `-m` runs."""
    command = ["-m", module, "start", "--foreground", "--model", "demo", "--coordinator", link_url]
    given = {"DARKBLOOM_HOME": str(home / f"{name}-home"), "DARKBLOOM_DEV": "1", **(settings or {})}
    async with child(command, home=home, settings=given, name=name) as process:
        yield process
