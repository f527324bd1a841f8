"""Registering releases once and for all, and switching them, on both engines."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio
from nacl.signing import SigningKey

from server.accounts.changes import Changes
from server.administration import audit
from server.administration.operator import Operator
from server.catalog.artefacts import Artefacts
from server.catalog.refused import ArtefactRefused
from server.catalog.release_acts import ReleaseActs
from server.catalog.release_rows import Release, latest_release, read_releases
from server.catalog.release_wish import ReleaseName, ReleaseWish
from server.store import Conflict, Invalid, NotFound, Store
from tests.testbed.bundles import PLATFORM, packed, place_of, release_body, signed, whole
from tests.testbed.lost_commits import open_lossy_store
from tests.testbed.model_server import ModelServer

PIPELINE = "release_key"
BUNDLE = packed(whole())


class ReleaseWorld:
    """Releases over a real store, whose bundles lie at a server on loopback."""

    def __init__(self, store: Store, shelf: ModelServer, **options: Any) -> None:
        self.store = store
        self.shelf = shelf
        self.now = 1_780_000_000_000_000
        operator = Operator(store, changes=Changes(store), wall_clock=self._clock)
        self.acts = ReleaseActs(operator, artefacts=Artefacts(shelf.url), **options)

    def _clock(self) -> int:
        self.now += 1_000_000
        return self.now

    async def register(self, version: str, **members: str) -> Release:
        platform = members.get("platform", PLATFORM)
        self.shelf.files[place_of(version, platform)] = BUNDLE
        body = release_body(self.shelf.url, version, BUNDLE, **members)
        return await self.acts.register(PIPELINE, msgspec.convert(body, ReleaseWish))

    async def switch(self, version: str, *, active: bool) -> Release:
        return await self.acts.switch("ann", ReleaseName(version=version, platform=PLATFORM), active=active)

    async def latest(self, *, pre_releases: bool = False) -> str | None:
        found = await self.store.read(lambda tx: latest_release(tx, PLATFORM, pre_releases=pre_releases))
        return None if found is None else found.version

    async def audited(self) -> list[tuple[str, str, str]]:
        rows = await self.store.read(lambda tx: audit.newest(tx, 100))
        return [(row.actor, row.action, row.target) for row in reversed(rows)]


@asynccontextmanager
async def world(store: Store, **options: Any) -> AsyncGenerator[ReleaseWorld]:
    async with ModelServer.open() as shelf:
        yield ReleaseWorld(store, shelf, **options)


async def test_the_highest_version_is_offered_until_it_is_switched_off(store: Store) -> None:
    async with world(store) as releases:
        for version in ("0.6.9", "0.6.10", "0.6.11-dev.1"):
            assert (await releases.register(version)).active
        assert await releases.latest() == "0.6.10"
        assert await releases.latest(pre_releases=True) == "0.6.11-dev.1"
        off = await releases.switch("0.6.10", active=False)
        assert (off.active, off.approved_by) == (False, "")
        assert await releases.latest() == "0.6.9"
        on = await releases.switch("0.6.10", active=True)
        assert (on.active, on.approved_by, on.registered_by) == (True, "ann", PIPELINE)
        assert await releases.latest() == "0.6.10"
        listed = await store.read(read_releases)
        assert [one.version for one in listed] == ["0.6.11-dev.1", "0.6.10", "0.6.9"]
        with pytest.raises(NotFound):
            await releases.switch("9.9.9", active=False)
        assert await releases.audited() == [
            (PIPELINE, "release.register", f"0.6.9 {PLATFORM}"),
            (PIPELINE, "release.register", f"0.6.10 {PLATFORM}"),
            (PIPELINE, "release.register", f"0.6.11-dev.1 {PLATFORM}"),
            ("ann", "release.deactivate", f"0.6.10 {PLATFORM}"),
            ("ann", "release.activate", f"0.6.10 {PLATFORM}"),
        ]


async def test_a_version_is_registered_once_and_for_all(store: Store) -> None:
    async with world(store) as releases:
        first = await releases.register("1.0.0", changelog="Faster.")
        downloads = releases.shelf.asked.total()
        assert await releases.register("1.0.0", changelog="Faster.") == first
        assert releases.shelf.asked.total() == downloads
        for other in ({"changelog": "Slower."}, {"binary_hash": "0" * 64}, {"backend": "mlx-python"}):
            with pytest.raises(Conflict, match="under a new version"):
                await releases.register("1.0.0", **{"changelog": "Faster.", **other})
        await releases.switch("1.0.0", active=False)
        again = await releases.register("1.0.0", changelog="Faster.")
        assert not again.active, "whoever has the release key cannot switch a release on again"
        assert (await releases.register("1.0.0", platform="linux-arm64")).platform == "linux-arm64"
        assert len(await releases.audited()) == 3


async def test_registered_at_once_there_is_one_row(store: Store) -> None:
    async with world(store) as releases, trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(releases.register, "1.0.0")
    assert [action for _, action, _ in await releases.audited()] == ["release.register"]


async def test_a_lost_commit_registers_once() -> None:
    async with open_lossy_store("sqlite") as (store, losses), world(store) as releases:
        losses.of, losses.pending = "INSERT INTO releases", 1
        made = await releases.register("1.0.0")
        assert (made.version, made.active, losses.pending) == ("1.0.0", True, 0)
        assert await releases.audited() == [(PIPELINE, "release.register", f"1.0.0 {PLATFORM}")]


async def test_a_bundle_that_does_not_fit_leaves_nothing(store: Store) -> None:
    async with world(store) as releases:
        with pytest.raises(ArtefactRefused):
            await releases.register("1.0.0", bundle_hash="0" * 64)
        assert await store.read(read_releases) == []
        assert await releases.audited() == []


async def test_with_approval_a_release_waits_for_an_operator(store: Store) -> None:
    async with world(store, approval=True) as releases:
        assert not (await releases.register("1.0.0")).active
        assert await releases.latest() is None
        assert (await releases.switch("1.0.0", active=True)).approved_by == "ann"
        assert await releases.latest() == "1.0.0"


async def test_with_signing_keys_one_of_them_must_have_signed(store: Store) -> None:
    ours, other = SigningKey.generate(), SigningKey.generate()
    keys = (SigningKey.generate().verify_key.encode(), ours.verify_key.encode())
    async with world(store, signing_keys=keys) as releases:
        wrong = ("", signed(BUNDLE, other), signed(b"another bundle", ours))
        for signature in wrong:
            with pytest.raises(ArtefactRefused, match="DARKBLOOM_RELEASE_SIGNING_KEYS"):
                await releases.register("1.0.0", signature=signature)
        assert not releases.shelf.asked
        good = signed(BUNDLE, ours)
        assert (await releases.register("1.0.0", signature=good)).signature == good


async def test_hashes_are_kept_in_lower_case(store: Store) -> None:
    async with world(store) as releases:
        asked = {"metallib_hash": "AB" * 32, "template_hashes": f"llama={'CD' * 32} , qwen={'0' * 64}"}
        found = await releases.register("1.0.0", backend="mlx-swift", **asked)
        assert found.metallib_hash == "ab" * 32
        assert found.template_hashes == f"llama={'cd' * 32},qwen={'0' * 64}"


@pytest.mark.parametrize(
    "wrong",
    [
        {"version": "1.0"},
        {"version": "1.0.0 "},
        {"version": "1.0.0-01"},
        {"version": "1.0.0\n"},
        {"platform": "Linux"},
        {"platform": "../x"},
        {"binary_hash": "ab"},
        {"bundle_hash": "0" * 63},
        {"backend": "mlx-swift"},
        {"signature": "AAAA"},
        {"template_hashes": "llama"},
        {"template_hashes": f"a b={'0' * 64}"},
        {"sha": "0"},
    ],
)
def test_what_is_no_release(wrong: dict[str, str]) -> None:
    body = release_body("https://cdn.test", "1.0.0", BUNDLE) | wrong
    with pytest.raises((msgspec.ValidationError, Invalid)):
        msgspec.convert(body, ReleaseWish).release(active=True, now=1)
