"""A release's whole way: uploaded, registered with a real coordinator, found and installed by an updater."""

from __future__ import annotations

import base64
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import trio
from nacl.signing import SigningKey

from provider.host import detect_host
from provider.update import Release, fetch_latest
from provider.update.install import put_in_place, stage
from provider.update.place import Installation
from provider.update.state import UpdateState
from provider.upstream import Upstream
from tests.testbed.bundles import MARK, PROGRAM, file, packed, place_of, release_body, signed, whole
from tests.testbed.coordinator import ADMIN_KEY, Coordinator, coordinator
from tests.testbed.model_server import ModelServer
from tests.testbed.provider_cli import ProviderHome

RELEASE_KEY = "release-" + "7e57" * 8
OLD, NEW = "98.0.0", "99.0.0"


async def ask(server: Coordinator, method: str, path: str, body: object, key: str) -> httpx.Response:
    """Send one request."""
    async with httpx.AsyncClient(base_url=server.base_url, trust_env=False, verify=False) as client:
        return await client.request(method, path, json=body, headers={"authorization": f"Bearer {key}"}, timeout=10)


def offered(server: Coordinator, platform: str) -> Release | None:
    """Ask as the updater of a machine does."""
    with Upstream(server.base_url) as upstream:
        return fetch_latest(upstream, platform)


def installed(base: Path) -> Installation:
    """A bundle of version 1.0.0 on a machine."""
    folder = base / "versions" / "1.0.0"
    folder.mkdir(parents=True)
    (folder / MARK).write_text("{}")
    (base / "current").symlink_to("versions/1.0.0")
    return Installation(base)


async def test_what_is_registered_is_installed_and_what_is_withdrawn_is_not(tmp_path: Path) -> None:
    platform = detect_host().platform
    key = SigningKey.generate()
    public = key.verify_key.encode()
    bundles = {
        version: packed([*whole(version=version), file("lib/version", version.encode())]) for version in (OLD, NEW)
    }
    async with ModelServer.open() as shelf:
        settings = {
            "DARKBLOOM_RELEASE_KEY": RELEASE_KEY,
            "DARKBLOOM_RELEASE_CDN_URL": shelf.url,
            "DARKBLOOM_RELEASE_SIGNING_KEYS": base64.b64encode(public).decode(),
            "DARKBLOOM_ADMIN_KEYS": ADMIN_KEY,
        }
        async with coordinator(tmp_path, settings) as server:
            machine = ProviderHome(tmp_path / "machine", {"DARKBLOOM_COORDINATOR_URL": server.base_url})

            async def update_says() -> Any:
                said = await trio.to_thread.run_sync(machine.run, "update", "--check-only", "--json")
                assert said.code == 0, said
                return said.json()

            assert (await update_says())["verdict"] == "none"
            for version, bundle in bundles.items():
                body = release_body(shelf.url, version, bundle, platform=platform, signature=signed(bundle, key))
                early = await ask(server, "POST", "/v1/releases", body, RELEASE_KEY)
                assert (early.status_code, "upload the bundle first" in early.text) == (400, True)
                shelf.files[place_of(version, platform)] = bundle
                assert (await ask(server, "POST", "/v1/releases", body, ADMIN_KEY)).status_code == 401
                unsigned = await ask(server, "POST", "/v1/releases", body | {"signature": ""}, RELEASE_KEY)
                assert (unsigned.status_code, "RELEASE_SIGNING_KEYS" in unsigned.text) == (400, True)
                assert (await ask(server, "POST", "/v1/releases", body, RELEASE_KEY)).status_code == 200
            found = await update_says()
            assert (found["latest"], found["verdict"]) == (NEW, "newer")

            installation = installed(tmp_path / "app")
            release = await trio.to_thread.run_sync(offered, server, platform)
            assert release is not None
            await trio.to_thread.run_sync(partial(stage, release, installation, keys=(public,)))
            put_in_place(release, installation, UpdateState())
            assert installation.current == NEW
            folder = installation.folder(NEW)
            assert ((folder / "bin/darkbloom").read_bytes(), (folder / "lib/version").read_text()) == (PROGRAM, NEW)

            name = {"version": NEW, "platform": platform}
            gone = await ask(server, "DELETE", "/v1/admin/releases", name, ADMIN_KEY)
            assert gone.json() == {"status": "release_deactivated", **name}
            assert (await update_says())["latest"] == OLD
            assert [line for line in server.lines() if line["level"] == "error"] == []
