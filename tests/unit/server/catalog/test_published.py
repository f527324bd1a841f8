"""Publishing against a download server on loopback: every file must be there before a version is entered."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import h11
import pytest
import trio
from msgspec import UNSET, structs

from protocol.manifest import encode_manifest
from server.catalog import rows
from server.catalog.published import PublishedFiles
from server.catalog.refused import NotPublished
from tests.testbed.store import open_test_store
from tests.unit.server.catalog.catalog_world import ACTOR, FILES, MODEL, CatalogWorld, manifest_of, registration


class Shelf:
    """A download server; `files` by path, `asked` what was asked for, `redirect` answers everything with 302."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []
        self.redirect = False
        self.url = ""

    def put(self, manifest: Any = None) -> None:
        made = manifest if manifest is not None else manifest_of()
        self.files[f"/cdn/{made.r2_prefix}/manifest.json"] = encode_manifest(made)
        for path, content in FILES.items():
            self.files[f"/cdn/{made.r2_prefix}/{path}"] = content

    async def serve(self, stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER)
        async with stream:
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    connection.receive_data(await stream.receive_some(65536))
                elif isinstance(event, h11.Request):
                    await self._answer(connection, stream, event)
                elif isinstance(event, h11.EndOfMessage):
                    if connection.our_state is h11.MUST_CLOSE:
                        return
                    connection.start_next_cycle()
                else:
                    return

    async def _answer(self, connection: h11.Connection, stream: trio.SocketStream, event: h11.Request) -> None:
        path, method = event.target.decode(), event.method.decode()
        self.asked.append((method, path))
        body = self.files.get(path)
        status = 302 if self.redirect else 200 if body is not None else 404
        content = body or b""
        headers = [("content-length", str(len(content))), ("location", "/elsewhere")]
        data = connection.send(h11.Response(status_code=status, headers=headers))
        if method != "HEAD":
            data = (data or b"") + (connection.send(h11.Data(data=content)) or b"")
        await stream.send_all((data or b"") + (connection.send(h11.EndOfMessage()) or b""))


@asynccontextmanager
async def open_shelf() -> AsyncGenerator[Shelf, None]:
    shelf = Shelf()
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        shelf.url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/cdn"
        nursery.start_soon(trio.serve_listeners, shelf.serve, [listener])
        yield shelf
        nursery.cancel_scope.cancel()


async def test_the_servers_own_manifest_counts_and_every_file_is_looked_for() -> None:
    async with open_test_store("sqlite") as store, open_shelf() as shelf:
        shelf.put()
        world = CatalogWorld(store, files=PublishedFiles(shelf.url + "/"))
        other = manifest_of(model_safetensors=b"OTHER")
        made = await world.register(other)  # what the body says is not believed
        assert made.version is not None
        assert made.version.aggregate_sha256 == manifest_of().aggregate_sha256
        prefix = manifest_of().r2_prefix
        assert shelf.asked[0] == ("GET", f"/cdn/{prefix}/manifest.json")
        assert sorted(shelf.asked[1:]) == [("HEAD", f"/cdn/{prefix}/{path}") for path in sorted(FILES)]


@pytest.mark.parametrize("fault", ["no manifest", "no file", "short file", "redirect", "not json", "huge", "gone"])
async def test_what_is_not_published_whole_is_refused(fault: str) -> None:
    async with open_test_store("sqlite") as store, open_shelf() as shelf:
        shelf.put()
        prefix = f"/cdn/{manifest_of().r2_prefix}"
        match fault:
            case "no manifest":
                del shelf.files[f"{prefix}/manifest.json"]
            case "no file":
                del shelf.files[f"{prefix}/config.json"]
            case "short file":
                shelf.files[f"{prefix}/model.safetensors"] = b"WEIGHT"
            case "redirect":
                shelf.redirect = True
            case "not json":
                shelf.files[f"{prefix}/manifest.json"] = b"<html>"
            case "huge":
                shelf.files[f"{prefix}/manifest.json"] = b" " * (1024 * 1024 + 1)
        url = "http://127.0.0.1:9/cdn" if fault == "gone" else shelf.url
        world = CatalogWorld(store, files=PublishedFiles(url))
        with pytest.raises(NotPublished):
            await world.acts.register(ACTOR, structs.replace(registration(), manifest=UNSET))
        assert await store.read(rows.read_models) == []
        assert ("GET", "/elsewhere") not in shelf.asked
        assert MODEL not in {one.id for one in world.book.models()}
