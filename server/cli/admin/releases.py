"""`admin releases …`: builds of the provider program that machines are offered."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from server.api.releases import registered_answer
from server.catalog.artefacts import Artefacts, entry_hash
from server.catalog.refused import ArtefactRefused
from server.catalog.release_acts import ReleaseActs
from server.catalog.release_rows import DEFAULT_PLATFORM, latest_release, read_releases
from server.catalog.release_wish import ReleaseName, ReleaseWish
from server.cli.admin.screen import Answer, Screen, minute
from server.cli.admin.session import Desk, Refusal, json_option, run
from server.cli.loading import EXIT_CONFIGURATION, load_or_exit
from server.store import Invalid, NotFound

if TYPE_CHECKING:
    from server.catalog.release_rows import Release

_platform = click.option("--platform", default=DEFAULT_PLATFORM, show_default=True)


@click.group()
def releases() -> None:
    """Register builds of the provider program, and say which are offered to machines."""


@releases.command("list")
@json_option
def list_all(as_json: bool) -> int:
    """List all releases, newest first."""

    async def work(desk: Desk) -> Answer:
        found = await desk.operator.read(read_releases)

        def show(screen: Screen) -> None:
            if not found:
                screen.line("There are no releases; machines stay on the version that they have.")
                return
            screen.table(
                ("version", "platform", "offered", "registered (UTC)", "by", "switched on by"),
                [
                    (one.version, one.platform, one.active, minute(one.created_at), one.registered_by, one.approved_by)
                    for one in found
                ],
                whole=("version", "platform", "registered (UTC)"),
            )

        return Answer(data={"releases": [registered_answer(one) for one in found]}, show=show)

    return run(work, as_json=as_json, reads=True)


@releases.command()
@click.argument("platform", default=DEFAULT_PLATFORM)
@click.option("--dev", is_flag=True, help="Versions for testers too, such as 0.8.0-dev.1.")
@json_option
def latest(platform: str, dev: bool, as_json: bool) -> int:
    """Show what a machine of PLATFORM is offered."""

    async def work(desk: Desk) -> Answer:
        found = await desk.operator.read(lambda tx: latest_release(tx, platform, pre_releases=dev))
        if found is None:
            raise NotFound(f"No release is offered for {platform}.")
        return _answer(found, "offered")

    return run(work, as_json=as_json, reads=True)


@releases.command()
@click.argument("bundle", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--version", required=True, metavar="VERSION", help="Such as 0.7.0, or 0.8.0-dev.1 for testers.")
@_platform
@click.option("--url", default="", help="Where the bundle lies; the usual place below DARKBLOOM_RELEASE_CDN_URL.")
@click.option("--backend", default="", help="What the build computes with.")
@click.option("--metallib-hash", default="", help="SHA-256 of its GPU library; mlx-swift builds need it.")
@click.option("--signature", default="", help="Ed25519 signature over the bundle's SHA-256, in base64.")
@click.option("--changelog", default="", help="What is new, for people.")
@json_option
def register(
    bundle: Path,
    version: str,
    platform: str,
    url: str,
    backend: str,
    metallib_hash: str,
    signature: str,
    changelog: str,
    as_json: bool,
) -> int:
    """Register the BUNDLE, a file on this machine that was uploaded to the download server before.

    Its hashes are taken from the file here, and compared with what the download server gives out.
    """
    base = load_or_exit().settings.release_cdn_url
    if base is None:
        text = "Set DARKBLOOM_RELEASE_CDN_URL to where bundles are downloaded from, as the coordinator has it."
        click.echo(text, err=True)
        return EXIT_CONFIGURATION
    given = {
        "backend": backend,
        "metallib_hash": metallib_hash,
        "signature": signature,
        "changelog": changelog,
        "url": url,
    }
    body = {"version": version, "platform": platform, **_hashes(bundle)}
    body |= {member: value for member, value in given.items() if value}
    artefacts = Artefacts(base)
    wish = _wish({"url": "", **body})
    place = artefacts.places(_release(wish))[0]
    if not url:
        body["url"] = place
        wish = msgspec.structs.replace(wish, url=place)

    async def work(desk: Desk) -> Answer:
        acts = ReleaseActs(
            desk.operator,
            artefacts=artefacts,
            approval=desk.settings.release_approval,
            signing_keys=desk.settings.release_signing_keys,
        )
        try:
            made = await acts.register(desk.actor, wish)
        except ArtefactRefused as error:
            raise Refusal("refused", str(error)) from None
        return _answer(made, "offered" if made.active else "registered, and waits to be activated")

    over_http = f"POST /v1/releases {json.dumps(body)}"
    return run(work, as_json=as_json, over_http=over_http, key="DARKBLOOM_RELEASE_KEY")


@releases.command()
@click.argument("version")
@_platform
@json_option
def activate(version: str, platform: str, as_json: bool) -> int:
    """Offer VERSION to machines, for the first time or again."""
    return _switch(version, platform, active=True, as_json=as_json)


@releases.command()
@click.argument("version")
@_platform
@json_option
def deactivate(version: str, platform: str, as_json: bool) -> int:
    """Offer VERSION no more; machines that have it keep it, others get the one before."""
    return _switch(version, platform, active=False, as_json=as_json)


def _switch(version: str, platform: str, *, active: bool, as_json: bool) -> int:
    name = ReleaseName(version=version, platform=platform)

    async def work(desk: Desk) -> Answer:
        changed = await ReleaseActs(desk.operator, artefacts=None).switch(desk.actor, name, active=active)
        return _answer(changed, "offered" if active else "not offered any more")

    body = json.dumps({"version": version, "platform": platform})
    over_http = f"POST /v1/admin/releases/activate {body}" if active else f"DELETE /v1/admin/releases {body}"
    return run(work, as_json=as_json, over_http=over_http)


def _answer(release: Release, said: str) -> Answer:
    def show(screen: Screen) -> None:
        screen.line(f"The release {release.version} for {release.platform} is {said}.")
        screen.facts(
            [
                ("bundle", release.url),
                ("SHA-256 of the bundle", release.bundle_hash),
                ("SHA-256 of the program", release.binary_hash),
                ("backend", release.backend),
                ("registered by", release.registered_by),
                ("what is new", release.changelog),
            ]
        )

    platform = "" if release.platform == DEFAULT_PLATFORM else f" --platform {release.platform}"
    activate = f"darkbloom-coordinator admin releases activate {release.version}{platform}"
    steps = () if release.active else (activate,)
    return Answer(data={"release": registered_answer(release)}, show=show, next_steps=steps)


def _hashes(bundle: Path) -> dict[str, str]:
    """Take both hashes from the file; raises click.UsageError for an archive against the rules."""
    with bundle.open("rb") as file:
        whole = hashlib.file_digest(file, "sha256").hexdigest()
        try:
            return {"bundle_hash": whole, "binary_hash": entry_hash(file)}
        except ArtefactRefused as error:
            raise click.UsageError(f"{bundle}: {error}") from None


def _wish(body: dict[str, str]) -> ReleaseWish:
    try:
        return msgspec.convert(body, ReleaseWish)
    except msgspec.ValidationError as error:
        raise click.UsageError(f"This is no release: {error}.") from None


def _release(wish: ReleaseWish) -> Release:
    """Give the row of a wish; raises click.UsageError for what could never be one."""
    try:
        return wish.release(active=False, now=0)
    except Invalid as error:
        raise click.UsageError(f"This is no release: {error}") from None
