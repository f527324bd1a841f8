"""`admin releases …` on both engines: what was uploaded is registered, offered, and offered no more."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from server.catalog.release_wish import ReleaseWish
from server.store.file_lock import exclusive_file
from tests.testbed.bundles import PLATFORM, PROGRAM, packed, place_of, sha256, whole
from tests.testbed.model_server import ModelServer
from tests.unit.server.cli.terminal import Terminal

BUNDLE = packed(whole())


def named(version: str) -> tuple[str, ...]:
    return ("--version", version, "--platform", PLATFORM)


async def test_releases_are_registered_listed_and_switched(admin: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "bundle.tar.gz"
    file.write_bytes(BUNDLE)
    empty = await admin("releases", "list")
    assert (empty.code, "There are no releases" in empty.output) == (0, True)
    unset = await admin("releases", "register", str(file), *named("0.7.0"))
    assert (unset.code, "DARKBLOOM_RELEASE_CDN_URL" in unset.errors) == (2, True)
    async with ModelServer.open() as shelf:
        admin.environment["DARKBLOOM_RELEASE_CDN_URL"] = shelf.url
        early = await admin("releases", "register", str(file), *named("0.7.0"))
        assert (early.code, "upload the bundle first" in early.errors) == (1, True)
        for version in ("0.7.0", "0.7.1"):
            shelf.files[place_of(version)] = BUNDLE
            made = (await admin.good("releases", "register", str(file), *named(version)))["release"]
            assert (made["version"], made["active"]) == (version, True)
        assert (made["bundle_hash"], made["binary_hash"]) == (sha256(BUNDLE), sha256(PROGRAM))
        again = await admin("releases", "register", str(file), *named("0.7.1"), "--changelog", "other")
        assert (again.code, "under a new version" in again.errors) == (1, True)
    assert (await admin.good("releases", "latest", PLATFORM))["release"]["version"] == "0.7.1"
    off = await admin("releases", "deactivate", "0.7.1", "--platform", PLATFORM)
    assert f"The release 0.7.1 for {PLATFORM} is not offered any more." in off.output
    assert f"admin releases activate 0.7.1 --platform {PLATFORM}" in off.output
    assert (await admin.good("releases", "latest", PLATFORM))["release"]["version"] == "0.7.0"
    listed = {one["version"]: one["active"] for one in (await admin.good("releases", "list"))["releases"]}
    assert listed == {"0.7.1": False, "0.7.0": True}
    await admin.good("releases", "activate", "0.7.1", "--platform", PLATFORM)
    assert (await admin("releases", "activate", "9.9.9")).code == 1
    assert (await admin("releases", "latest", "linux-arm64")).code == 1
    assert await admin.acts() == [
        ("release.register", f"0.7.0 {PLATFORM}"),
        ("release.register", f"0.7.1 {PLATFORM}"),
        ("release.deactivate", f"0.7.1 {PLATFORM}"),
        ("release.activate", f"0.7.1 {PLATFORM}"),
    ]


async def test_a_running_coordinator_is_asked_with_the_release_key(tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    admin = Terminal(f"sqlite:///{path}", DARKBLOOM_RELEASE_CDN_URL="https://cdn.test")
    await admin.migrate()
    file = tmp_path / "bundle.tar.gz"
    file.write_bytes(BUNDLE)
    with exclusive_file(path):
        refused = await admin("releases", "register", str(file), *named("0.7.0"), "--changelog", "It's new.", "--json")
    assert refused.code == 1
    said = refused.json["error"]["message"]
    assert "with the key of DARKBLOOM_RELEASE_KEY in $RELEASE_KEY" in said
    assert 'v1/releases -H "Authorization: Bearer $RELEASE_KEY" -d ' in said
    body = said.partition(" -d '")[2].partition("'\nor stop")[0].replace("'\"'\"'", "'")
    wish = msgspec.convert(json.loads(body), ReleaseWish)
    assert (wish.url, wish.changelog) == (f"https://cdn.test/{place_of('0.7.0')}", "It's new.")


async def test_files_that_are_no_bundle_are_not_registered(tmp_path: Path) -> None:
    admin = Terminal(f"sqlite:///{tmp_path / 'data.db'}", DARKBLOOM_RELEASE_CDN_URL="https://cdn.test")
    await admin.migrate()
    file = tmp_path / "bundle.tar.gz"
    file.write_bytes(b"no bundle")
    assert (await admin("releases", "register", str(file), *named("0.7.0"))).code == 64
    file.write_bytes(BUNDLE)
    for wrong in (named("1"), named("1.0.0.0"), named("01.0.0"), (*named("1.0.0"), "--backend", "mlx-swift")):
        assert (await admin("releases", "register", str(file), *wrong)).code == 64
    elsewhere = await admin("releases", "register", str(file), *named("0.7.0"), "--url", "https://other.test/x")
    assert (elsewhere.code, "url must be https://cdn.test/releases/v0.7.0/" in elsewhere.errors) == (1, True)
