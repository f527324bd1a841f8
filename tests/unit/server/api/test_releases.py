"""Releases over HTTP: the release key registers and can do nothing else, administrators switch, machines ask."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from protocol.settings import Secret
from server.administration.operator import Operator
from server.api.account_endpoints import account_blueprints, account_gate
from server.api.releases import ReleaseServices, releases_blueprint
from server.api.versions import VersionServices, versions_blueprint
from server.catalog.artefacts import Artefacts
from server.catalog.release_acts import ReleaseActs
from server.config import CoordinatorSettings
from server.observe import Metrics
from server.serve.app import build_app
from server.serve.drain import Drain
from server.trust import RuntimeManifest
from tests.testbed.bundles import PLATFORM, packed, place_of, release_body, whole
from tests.testbed.model_server import ModelServer
from tests.testbed.store import open_test_store
from tests.unit.server.api.account_site import ADMIN_KEY, LISTED_KEY, AccountSite, Answer, open_site

RELEASE_KEY = "release-key-" + "r" * 30
BUNDLE = packed(whole())
LATEST = f"/v1/releases/latest?platform={PLATFORM}"


class ReleaseSite:
    """The accounts' site with the endpoints of releases; `shelf` is the download server, None without one."""

    def __init__(self, site: AccountSite, shelf: ModelServer | None) -> None:
        self.site = site
        self.shelf = shelf
        self.ask = site.ask
        settings = CoordinatorSettings()
        operator = Operator(site.store, changes=site.accounts.changes, wall_clock=site.times.wall_clock)
        acts = ReleaseActs(operator, artefacts=None if shelf is None else Artefacts(shelf.url))
        services = ReleaseServices(
            gate=account_gate(site.accounts, settings),
            release_keys=site.accounts.release_keys,
            acts=acts,
            store=site.store,
        )
        blueprints = [
            *account_blueprints(site.accounts, settings=settings, wall_clock=site.times.wall_clock),
            releases_blueprint(services),
            versions_blueprint(VersionServices(store=site.store, version="0.0.1", manifest=RuntimeManifest)),
        ]
        app = build_app(settings, metrics=Metrics(), drain=Drain(), blueprints=blueprints)
        site.client = app.test_client(use_cookies=False)

    async def register(self, version: str, *, token: str | None = RELEASE_KEY, **members: Any) -> Answer:
        base = "https://cdn.test" if self.shelf is None else self.shelf.url
        if self.shelf is not None:
            self.shelf.files[place_of(version)] = BUNDLE
        return await self.ask("POST", "/v1/releases", release_body(base, version, BUNDLE) | members, token=token)

    async def latest(self) -> str | None:
        found = await self.ask("GET", LATEST)
        return found.json["version"] if found.status == 200 else None


@asynccontextmanager
async def open_release_site(*, published: bool = True) -> AsyncGenerator[ReleaseSite]:
    async with (
        open_test_store("sqlite") as store,
        open_site(store, release_key=Secret(RELEASE_KEY)) as site,
        ModelServer.open() as shelf,
    ):
        yield ReleaseSite(site, shelf if published else None)


async def test_a_registered_release_is_what_machines_are_offered() -> None:
    async with open_release_site() as releases:
        assert (await releases.ask("GET", LATEST)).is_error(404, "not_found")
        made = await releases.register("0.7.0", changelog="Faster.")
        assert (made.status, made.json["status"]) == (200, "release_registered")
        row = made.json["release"]
        assert (row["version"], row["platform"], row["active"]) == ("0.7.0", PLATFORM, True)
        latest = (await releases.ask("GET", LATEST)).json
        assert latest == row
        shown = (await releases.ask("GET", f"/api/version?platform={PLATFORM}")).json
        assert (shown["version"], shown["download_url"], shown["changelog"]) == ("0.7.0", row["url"], "Faster.")
        assert (await releases.register("0.7.0", changelog="Faster.")).json == made.json
        assert (await releases.register("0.7.0", changelog="Slower.")).is_error(409, "conflict")


async def test_a_changelog_of_the_full_length_is_taken_in_any_script() -> None:
    async with open_release_site() as releases:
        changelog = "\U0001f331" * 32_768
        made = await releases.register("0.7.0", changelog=changelog)
        assert (made.status, made.json["release"]["changelog"]) == (200, changelog)


async def test_switched_off_the_one_before_is_offered_at_once() -> None:
    async with open_release_site() as releases:
        for version in ("0.6.9", "0.6.10"):
            await releases.register(version)
        name = {"version": "0.6.10", "platform": PLATFORM}
        off = await releases.ask("DELETE", "/v1/admin/releases", name, token=ADMIN_KEY)
        assert off.json == {"status": "release_deactivated", **name}
        assert await releases.latest() == "0.6.9"
        listed = (await releases.ask("GET", "/v1/admin/releases", token=ADMIN_KEY)).json["releases"]
        assert [(one["version"], one["active"], one["registered_by"]) for one in listed] == [
            ("0.6.10", False, "release_key"),
            ("0.6.9", True, "release_key"),
        ]
        on = await releases.ask("POST", "/v1/admin/releases/activate", name, token=releases.site.ada)
        assert on.json == {"status": "release_activated", **name}
        assert await releases.latest() == "0.6.10"
        for body, status in (({}, 400), ({"version": "9.9.9"}, 404), ({"version": "0.6.10", "x": 1}, 400)):
            assert (await releases.ask("DELETE", "/v1/admin/releases", body, token=ADMIN_KEY)).status == status


async def test_the_release_key_registers_and_nothing_else() -> None:
    async with open_release_site() as releases:
        for token in (None, "wrong", ADMIN_KEY, LISTED_KEY, releases.site.ada):
            assert (await releases.register("0.7.0", token=token)).is_error(401, "unauthorized")
        for method, path in (("GET", "/v1/admin/releases"), ("GET", "/v1/keys"), ("DELETE", "/v1/admin/releases")):
            assert (await releases.ask(method, path, {}, token=RELEASE_KEY)).status == 401
        for token in (LISTED_KEY, releases.site.eve):
            assert (await releases.ask("GET", "/v1/admin/releases", token=token)).is_error(403, "forbidden")
        assert await releases.latest() is None


async def test_guesses_at_the_release_key_are_counted() -> None:
    async with open_release_site() as releases:
        seen = {(await releases.register("0.7.0", token=f"guess-{number}")).status for number in range(200)}
        assert seen == {401, 429}


async def test_bodies_that_are_no_release_name_what_is_wrong() -> None:
    async with open_release_site() as releases:
        unknown = await releases.register("0.7.0", sha="0")
        assert unknown.status == 400
        assert "sha" in unknown.error["message"]
        for wrong in ({"platform": "A"}, {"binary_hash": "x"}, {"url": 7}, {"backend": "mlx-swift"}):
            assert (await releases.register("0.7.0", **wrong)).status == 400, wrong
        assert (await releases.register("1")).status == 400
        for body in (b"", b"{", b"[]", b'{"version": "1.0.0"}'):
            assert (await releases.ask("POST", "/v1/releases", body, token=RELEASE_KEY)).status == 400
        assert (await releases.register("0.7.0", changelog="x" * 70_000)).status == 400
        large = await releases.register("0.7.0", changelog="x" * 600_000)
        assert large.status == 413
        elsewhere = await releases.register("0.7.0", url="https://elsewhere.example/bundle.tar.gz")
        assert (elsewhere.status, "url must be" in elsewhere.error["message"]) == (400, True)
        other = await releases.register("0.7.0", bundle_hash="0" * 64)
        assert (other.status, "bundle_hash" in other.error["message"]) == (400, True)


async def test_without_a_download_server_nothing_is_registered() -> None:
    async with open_release_site(published=False) as releases:
        assert (await releases.register("0.7.0")).is_error(503, "not_configured")
        assert (await releases.register("0.7.0", token=None)).status == 401
