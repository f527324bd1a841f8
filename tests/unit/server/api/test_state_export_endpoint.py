"""`GET /v1/admin/state-export`: every status, and an archive that decrypts."""

from __future__ import annotations

import io
import json
import logging
import os
import zipfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio
from quart_trio import QuartTrio

from server.api.account_endpoints import account_blueprints, account_gate
from server.api.state_export import StateExportServices, state_export_blueprint
from server.config import CoordinatorSettings
from server.listener import LOOPBACK_NETWORKS, Listener, ListenerLimits
from server.observe import Metrics, mint_request_id
from server.observe.log_format import JsonFormatter
from server.serve.app import build_app
from server.serve.drain import Drain
from server.state_export import SealedArchive, StateExport
from server.store import Store
from tests.testbed.age_reader import decrypt, new_identity
from tests.unit.server.api.account_site import ADMIN_KEY, LISTED_KEY, AccountSite, open_site

SETTINGS = CoordinatorSettings()
PATH = "/v1/admin/state-export"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    found = tmp_path / "data"
    found.mkdir()
    (found / "push.pem").write_bytes(b"certificate" * 100_000)
    return found


def built(site: AccountSite, export: StateExport | None, *, enabled: bool = True) -> QuartTrio:
    """The application of the site with the export."""
    blueprints = account_blueprints(site.accounts, settings=SETTINGS, wall_clock=site.times.wall_clock)
    if enabled:
        services = StateExportServices(
            gate=account_gate(site.accounts, SETTINGS),
            admin_keys=site.accounts.admin_keys,
            export=export,
            wall_clock=site.times.wall_clock,
        )
        blueprints.append(state_export_blueprint(services))
    return build_app(SETTINGS, metrics=Metrics(), drain=Drain(), blueprints=blueprints)


@asynccontextmanager
async def serving(store: Store, export: StateExport | None, *, enabled: bool = True) -> AsyncGenerator[AccountSite]:
    async with open_site(store) as site:
        site.client = built(site, export, enabled=enabled).test_client(use_cookies=False)
        yield site


@asynccontextmanager
async def listening(store: Store, export: StateExport) -> AsyncGenerator[str]:
    """The application behind a real listener; yields its URL."""

    async def no_link(*_: object) -> None:
        raise AssertionError("no provider was expected")

    async with open_site(store) as site, trio.open_nursery() as nursery:
        listener = Listener(
            built(site, export),
            no_link,
            limits=ListenerLimits(),
            trusted_proxies=LOOPBACK_NETWORKS,
            on_crash=lambda error: None,
            new_request_id=mint_request_id,
        )
        (url,) = await nursery.start(listener.run, "127.0.0.1", 0)
        yield url
        nursery.cancel_scope.cancel()


async def test_disabled_is_a_path_like_any_unknown_one(store: Store) -> None:
    async with serving(store, None, enabled=False) as site:
        answer = await site.ask("GET", PATH, token=ADMIN_KEY)
        other = await site.ask("GET", "/v1/admin/nothing", token=ADMIN_KEY)
        assert answer.status == other.status == 404
        assert answer.body == other.body.replace(b"/v1/admin/nothing", PATH.encode())


async def test_the_admin_key_alone_passes(store: Store, root: Path) -> None:
    async with serving(store, StateExport(root, recipient=None)) as site:
        key_of_admin = (await site.ask("POST", "/v1/keys", token=site.ada)).json["key"]
        for token in (site.ada, site.eve, key_of_admin, LISTED_KEY, ADMIN_KEY + "x", None):
            assert (await site.ask("GET", PATH, token=token)).is_error(403, "forbidden")
        in_the_wrong_place = await site.ask("GET", PATH, headers={"x-api-key": ADMIN_KEY})
        assert in_the_wrong_place.is_error(403, "forbidden")
        assert (await site.ask("GET", PATH, token=ADMIN_KEY)).status == 200


async def test_guessing_is_limited(store: Store, root: Path) -> None:
    async with serving(store, StateExport(root, recipient=None)) as site:
        seen = [(await site.ask("GET", PATH, token=f"guess {number}")).status for number in range(31)]
        assert (set(seen[:30]), seen[30]) == ({403}, 429)


async def test_without_a_recipient_nothing_leaves(store: Store) -> None:
    async with serving(store, None) as site:
        assert (await site.ask("GET", PATH, token=ADMIN_KEY)).is_error(412, "precondition_failed")


async def test_an_archive_is_named_sized_and_decrypts(store: Store, root: Path) -> None:
    key, recipient = new_identity()
    async with serving(store, StateExport(root, recipient=recipient)) as site:
        answer = await site.ask("GET", PATH, token=ADMIN_KEY)
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"] == 'attachment; filename="darkbloom-state-1780000000.zip.age"'
        assert answer.headers["content-length"] == str(len(answer.body))
        assert answer.headers["cache-control"] == "private, no-store"
        archive = zipfile.ZipFile(io.BytesIO(decrypt(answer.body, key)))
        assert archive.read("push.pem") == (root / "push.pem").read_bytes()
        assert (await site.ask("HEAD", PATH, token=ADMIN_KEY)).status == 405


async def test_a_plain_archive_says_so_in_its_name(store: Store, root: Path) -> None:
    async with serving(store, StateExport(root, recipient=None)) as site:
        answer = await site.ask("GET", PATH, token=ADMIN_KEY)
        assert answer.headers["content-disposition"].endswith('-1780000000.zip"')
        assert zipfile.ZipFile(io.BytesIO(answer.body)).namelist() == ["push.pem"]


@pytest.mark.parametrize(
    ("recipient", "expected"), [("age1" + "q" * 58, ()), (new_identity()[1], ("devices.db",))], ids=["key", "database"]
)
async def test_a_failure_is_500_before_the_first_byte(
    store: Store, root: Path, recipient: str, expected: tuple[str, ...]
) -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("darkbloom.state_export")
    logger.addHandler(handler)
    try:
        async with serving(store, StateExport(root, recipient=recipient, expected=expected)) as site:
            answer = await site.ask("GET", PATH, token=ADMIN_KEY)
            assert answer.is_error(500, "export_failed")
            assert str(root) not in answer.body.decode()
    finally:
        logger.removeHandler(handler)
    line = json.loads(written.getvalue().splitlines()[-1])
    assert (line["outcome"], line["client"]) == ("failed", "203.0.113.0/24")
    assert line["problem"]


async def test_a_large_archive_passes_real_sockets_and_a_hang_up_gives_its_space_back(
    store: Store, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "large").write_bytes(os.urandom(8 * 1024 * 1024))
    key, recipient = new_identity()
    export = StateExport(root, recipient=recipient)
    made: list[SealedArchive] = []
    real = export.make

    async def remembered() -> SealedArchive:
        made.append(await real())
        return made[-1]

    monkeypatch.setattr(export, "make", remembered)
    async with listening(store, export) as url, httpx.AsyncClient(timeout=30) as client:
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        answer = await client.get(url + PATH, headers=headers)
        assert (answer.status_code, answer.headers["content-length"]) == (200, str(len(answer.content)))
        archive = zipfile.ZipFile(io.BytesIO(decrypt(answer.content, key)))
        assert archive.read("large") == (root / "large").read_bytes()
        async with client.stream("GET", url + PATH, headers=headers) as leaving:
            assert leaving.status_code == 200
        with trio.fail_after(10):
            while not made[1].file.closed:
                await trio.lowlevel.checkpoint()
    assert made[0].file.closed
