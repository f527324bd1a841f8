"""The newest release is the highest active version for a platform, whatever order the rows came in."""

from __future__ import annotations

import pytest

from server.catalog.release_rows import is_pre_release, latest_release
from server.store import Store, Tx


async def add(store: Store, version: str, *, platform: str = "macos-arm64", active: int = 1, at: int = 1) -> None:
    async def insert(tx: Tx) -> None:
        await tx.execute(
            "INSERT INTO releases (version, platform, url, active, created_at) VALUES ($1, $2, $3, $4, $5)",
            version,
            platform,
            f"https://cdn.test/{version}",
            active,
            at,
        )

    await store.write(insert)


async def latest(store: Store, platform: str = "macos-arm64", *, pre_releases: bool = False) -> str | None:
    found = await store.read(lambda tx: latest_release(tx, platform, pre_releases=pre_releases))
    return None if found is None else found.version


async def test_versions_compare_as_versions(store: Store) -> None:
    assert await latest(store) is None
    for version in ("0.6.9", "0.6.11-dev.1", "0.6.10", "junk"):
        await add(store, version)
    await add(store, "9.0.0", active=0)
    await add(store, "8.0.0", platform="linux-x86_64")
    assert await latest(store) == "0.6.10"
    assert await latest(store, pre_releases=True) == "0.6.11-dev.1"
    assert await latest(store, "linux-x86_64") == "8.0.0"
    assert await latest(store, "plan9") is None


async def test_equal_precedence_goes_to_the_newer_row(store: Store) -> None:
    await add(store, "1.0.0+a", at=2)
    await add(store, "1.0.0+b", at=1)
    assert await latest(store) == "1.0.0+a"


@pytest.mark.parametrize(("version", "pre"), [("1.0.0", False), ("1.0.0-rc.1", True), ("1.0.0+b-7", False)])
def test_pre_releases(version: str, pre: bool) -> None:
    assert is_pre_release(version) is pre
