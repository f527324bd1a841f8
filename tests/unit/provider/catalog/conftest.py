"""A download server on loopback, a small model folder, a cache, and a download between them without long waits."""

from random import Random

import pytest

from provider.catalog.download import Download
from provider.catalog.http import open_http
from provider.models.hub import HubCache
from tests.testbed.model_folder import SMALL, write_model_folder
from tests.testbed.model_server import ModelServer


@pytest.fixture
def folder(tmp_path):
    return write_model_folder(tmp_path / "source")


@pytest.fixture
async def server():
    async with ModelServer.open() as server:
        yield server


@pytest.fixture
def cache(tmp_path):
    return HubCache(tmp_path / "hub")


@pytest.fixture
async def fetch(server, cache):
    """Download a manifest; further arguments go to the download."""
    async with open_http() as client:

        async def run(manifest, **options):
            options = {"limits": SMALL, "random": Random(1), **options}
            return await Download(client, cache, manifest, server.url, **options).run()

        yield run
