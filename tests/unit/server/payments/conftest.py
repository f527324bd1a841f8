"""Payments over a store and the Stripe peer."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from server.store import Store
from tests.testbed.stripe_peer_world import World, open_world


@pytest.fixture
async def world(store: Store) -> AsyncGenerator[World, None]:
    """Payments on every engine; no clock runs by itself, no pause takes time."""
    async with open_world(store) as opened:
        yield opened
