"""`darkbloom models download` (also `pull`)."""

from typing import TYPE_CHECKING

import click

from provider.cli.account import coordinator_option
from provider.cli.examples import examples
from provider.cli.exits import INTERRUPTED, OK, CommandFailed
from provider.cli.models_shared import ask_catalogue, find_entry, open_cache, size_text
from provider.cli.session import print_json

if TYPE_CHECKING:
    from provider.catalog.client import CatalogClient
    from provider.catalog.download import Downloaded
    from provider.config import Configuration
    from provider.models.hub import HubCache


@click.command(name="download", epilog=examples("darkbloom models download mlx-community/Qwen3-8B-4bit"))
@click.argument("model_id", metavar="ID")
@coordinator_option
@click.option("--cdn", metavar="URL", help="Download server, instead of the one that the coordinator names.")
@click.option("--jobs", type=click.IntRange(1, 16), default=4, show_default=True, help="Files at a time.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines about the progress, and the result.")
def command(model_id: str, coordinator: str | None, cdn: str | None, jobs: int, as_json: bool) -> int:
    """Download a model from the catalogue, verified against its hashes.

    An interrupted download goes on where it stopped when the same command is run again. A model that is here already is
    checked. `darkbloom models pull ID` is the same.
    """
    configuration, _cache = open_cache(coordinator)
    download_model(configuration, model_id, server=cdn or "", jobs=jobs, as_json=as_json)
    return OK


def download_model(
    configuration: "Configuration", model_id: str, *, server: str = "", jobs: int = 4, as_json: bool = False
) -> None:
    """Download a model of the catalogue and say so; raises `CommandFailed`."""
    from provider.models.hub import HubCache

    cache = HubCache(configuration.settings.models_directory)
    server = server or configuration.settings.model_cdn_url or ""
    try:
        downloaded = ask_catalogue(
            configuration,
            lambda client: _download(client, cache, model_id, server, jobs=jobs, as_json=as_json),
            command=f"models download {model_id}",
        )
    except (KeyboardInterrupt, BaseExceptionGroup) as ended:
        if isinstance(ended, BaseExceptionGroup) and ended.subgroup(KeyboardInterrupt) is None:
            raise
        raise CommandFailed(
            f"The download of {model_id} was interrupted; it goes on where it stopped.",
            fix=f"darkbloom models download {model_id}",
            code=INTERRUPTED,
        ) from None
    if as_json:
        print_json({"id": model_id, "snapshot": str(downloaded.directory), "fetched_bytes": downloaded.fetched_bytes})
    elif downloaded.fetched_bytes:
        click.echo(f"{model_id} is ready ({size_text(downloaded.fetched_bytes)} fetched, all files verified).")
    else:
        click.echo(f"{model_id} is here already, and all its files are right.")


async def _download(
    client: "CatalogClient", cache: "HubCache", model_id: str, server: str, *, jobs: int, as_json: bool
) -> "Downloaded":
    from provider.catalog.download import Download
    from provider.catalog.limits import DownloadLimits
    from provider.cli.models_progress import show_progress

    catalogue = await client.catalogue()
    entry = find_entry(catalogue, model_id)
    cdn = server or catalogue.cdn_url or ""
    if not cdn:
        raise CommandFailed(
            "The coordinator names no download server.", fix=f"darkbloom models download {model_id} --cdn URL"
        )
    manifest = await client.manifest(entry, cdn=cdn)
    with show_progress(model_id, as_json=as_json) as listener:
        limits = DownloadLimits(files_at_once=jobs)
        return await Download(client.http, cache, manifest, cdn, limits=limits, listener=listener).run()
