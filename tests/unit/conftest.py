"""Fixtures of the unit tests."""

from __future__ import annotations

import gc
from collections.abc import AsyncGenerator, Iterator

import pytest

from server.store.dialect import EngineKind
from server.store.engine import Store
from tests.testbed.needs import absent
from tests.testbed.postgres_server import NoServer
from tests.testbed.store import open_test_store


@pytest.fixture(params=["sqlite", "postgres"])
async def store(request: pytest.FixtureRequest) -> AsyncGenerator[Store, None]:
    """An empty store with the current schema; each test that asks for it runs on every engine."""
    kind: EngineKind = request.param
    try:
        async with open_test_store(kind) as opened:
            yield opened
    except NoServer as problem:
        absent(problem)


@pytest.fixture
def _restored_collector() -> Iterator[None]:
    """Undo what a serving coordinator does to the garbage collector."""
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*thresholds)
