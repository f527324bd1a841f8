"""Reading the catalogue and manifests, and registering a build, from a server that answers well and badly."""

import json

import pytest

from provider.catalog.client import CatalogClient, file_url
from provider.catalog.entries import CatalogEntry
from provider.catalog.failures import CatalogFailed


@pytest.fixture
async def client(server):
    async with CatalogClient.open(server.url) as client:
        yield client


def entry_of(manifest):
    return CatalogEntry(id=manifest.model_id, r2_prefix=manifest.r2_prefix, aggregate_sha256=manifest.aggregate_sha256)


async def test_catalogue_with_unknown_members_is_read(server, client):
    model = {"id": "org/x-4bit", "size_gb": 4.5, "min_ram_gb": 16, "later": [1], "max_context_length": 32768}
    server.documents["v1/models/catalog"] = 200, json.dumps({"models": [model], "cdn_url": "https://cdn"}).encode()
    catalogue = await client.catalogue()
    assert catalogue.cdn_url == "https://cdn"
    assert catalogue.models[0].disk_bytes == 4_500_000_000
    assert catalogue.models[0].estimated_memory_gb == pytest.approx(4.5e9 * 1.2 / 2**30)
    assert not catalogue.models[0].has_manifest


@pytest.mark.parametrize(
    ("status", "content", "why"),
    [(503, b"", "answered 503"), (200, b"<html>", "cannot be read"), (200, b'{"models":[{}]}', "cannot be read")],
)
async def test_bad_catalogues(server, client, status, content, why):
    server.documents["v1/models/catalog"] = status, content
    with pytest.raises(CatalogFailed, match=why):
        await client.catalogue()


async def test_coordinator_that_is_not_there():
    async with CatalogClient.open("http://127.0.0.1:9") as client:
        with pytest.raises(CatalogFailed, match=r"127\.0\.0\.1:9 cannot be reached \(ConnectError\)"):
            await client.catalogue()


async def test_manifest_of_the_coordinator(server, client, folder):
    manifest = server.publish(folder)
    assert await client.manifest(entry_of(manifest)) == manifest


async def test_manifest_of_the_download_server_where_the_coordinator_has_none(server, client, folder):
    manifest = server.publish(folder)
    _status, content = server.documents.pop(f"v1/models/catalog/manifest/{manifest.model_id}")
    with pytest.raises(CatalogFailed, match="status 404"):
        await client.manifest(entry_of(manifest))
    server.documents[f"{manifest.r2_prefix}/manifest.json"] = 200, content
    assert await client.manifest(entry_of(manifest), cdn=server.url) == manifest


async def test_entry_without_manifest_is_refused(client):
    with pytest.raises(CatalogFailed, match="no verified manifest for org/x"):
        await client.manifest(CatalogEntry(id="org/x"))


@pytest.mark.parametrize(
    ("old", "new"), [("config.json", "../evil"), ('"file_count": 4', '"file_count": 5'), ("org/tiny", "org/evil")]
)
async def test_changed_manifest_is_refused_before_anything_is_written(server, client, folder, old, new):
    manifest = server.publish(folder)
    place = f"v1/models/catalog/manifest/{manifest.model_id}"
    changed = server.documents[place][1].decode().replace(old, new)
    assert changed.encode() != server.documents[place][1]
    server.documents[place] = 200, changed.encode()
    with pytest.raises(CatalogFailed, match=r"org/tiny-4bit cannot be downloaded\. The manifest"):
        await client.manifest(entry_of(manifest))


async def test_document_without_end_is_cut_off(server, client, folder):
    manifest = server.publish(folder)
    server.documents[f"v1/models/catalog/manifest/{manifest.model_id}"] = 200, b" " * (2**20 + 1)
    with pytest.raises(CatalogFailed, match="is longer than 1048576 bytes"):
        await client.manifest(entry_of(manifest))


async def test_register_sends_the_manifest_and_the_key(server, client, folder):
    manifest = server.publish(folder)
    server.documents["v1/admin/models/register"] = 200, b'{"status":"model_registered","model":{"id":"x"}}'
    answer = await client.register(manifest, "secret", {"display_name": "Tiny"})
    assert answer["status"] == "model_registered"
    path, body = server.received[0]
    sent = json.loads(body)
    assert (path, sent["display_name"], sent["r2_prefix"]) == (
        "v1/admin/models/register",
        "Tiny",
        manifest.r2_prefix,
    )
    assert sent["manifest"]["aggregate_sha256"] == manifest.aggregate_sha256


async def test_refused_registration_shows_the_coordinators_sentence(server, client, folder):
    manifest = server.publish(folder)
    error = {"error": {"message": "The version exists.\x1b[2J", "type": "conflict"}}
    server.documents["v1/admin/models/register"] = 409, json.dumps(error).encode()
    with pytest.raises(CatalogFailed, match=r"did not register it \(409\)\. The version exists\.\[2J") as failed:
        await client.register(manifest, "secret", {})
    assert "secret" not in str(failed.value)


def test_addresses_are_escaped():
    assert file_url("https://cdn/x/", "v2/a b/1", "sub/ü#?.json") == "https://cdn/x/v2/a%20b/1/sub/%C3%BC%23%3F.json"
