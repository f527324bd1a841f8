"""End-to-end scenarios: real processes on loopback, nothing mocked between the consumer and the provider."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.testbed.coordinator import Coordinator, coordinator


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Coordinator]:
    """One coordinator with default settings."""
    async with coordinator(tmp_path) as server:
        yield server
