"""Books that must be perfect when a test of an endpoint is over."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from server.store import Store
from tests.testbed.books import Books


@pytest.fixture
async def books(store: Store) -> AsyncGenerator[Books, None]:
    """The store with short hands for money."""
    opened = Books(store)
    yield opened
    assert await opened.problems() == []
