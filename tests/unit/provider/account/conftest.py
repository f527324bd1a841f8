"""A door of the coordinator over memory."""

import httpx
import pytest

from provider.account import CoordinatorDoor
from tests.unit.provider.account.door_peer import BASE, Peer


@pytest.fixture
def peer():
    return Peer()


@pytest.fixture
async def door(peer):
    async with httpx.AsyncClient(transport=httpx.MockTransport(peer)) as client:
        yield CoordinatorDoor(client, BASE)
