"""`darkbloom models publish`: the manifest of a model, its files in place, and its entry in a catalogue."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from provider.cli.account import coordinator_option
from provider.cli.examples import examples
from provider.cli.exits import OK, CommandFailed
from provider.cli.models_shared import ask_catalogue, open_cache, size_text
from provider.cli.session import json_option, print_json

if TYPE_CHECKING:
    from protocol.manifest import Manifest


@click.command(
    name="publish",
    epilog=examples("darkbloom models publish ./qwen3 --id org/qwen3-4bit --version 2026-07-01 -o manifest.json"),
)
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR")
@click.option("--id", "model_id", required=True, metavar="ID", help="Id of the model in the catalogue.")
@click.option("--version", required=True, help="Name of this build, for example a date.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the manifest here.")
@click.option(
    "--to",
    "root",
    type=click.Path(file_okay=False, path_type=Path),
    help="Copy the files to their places below this folder, the root of a download server; the manifest comes last.",
)
@click.option("--register", "is_registered", is_flag=True, help="Tell the coordinator; needs --key-file.")
@click.option("--key-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Publishing key.")
@click.option("--metadata", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="JSON for --register.")
@click.option("--created-at", metavar="TIME", help="RFC 3339 time in the manifest; by default now.")
@coordinator_option
@json_option
def command(
    directory: Path,
    model_id: str,
    version: str,
    output: Path | None,
    root: Path | None,
    is_registered: bool,
    key_file: Path | None,
    metadata: Path | None,
    created_at: str | None,
    coordinator: str | None,
    as_json: bool,
) -> int:
    """Describe a model folder in a manifest, put its files in place, and register it with a coordinator."""
    manifest = _build(directory, model_id, version, created_at)
    if output is not None:
        _write(manifest, output)
    if root is not None:
        _copy(manifest, directory, root)
    entry = _register(manifest, coordinator, key_file, metadata) if is_registered else None
    if as_json:
        print_json(
            {
                "id": manifest.model_id,
                "version": manifest.version,
                "prefix": manifest.r2_prefix,
                "aggregate_sha256": manifest.aggregate_sha256,
                "total_size_bytes": manifest.total_size_bytes,
                "file_count": manifest.file_count,
                "registered": entry is not None,
            }
        )
        return OK
    click.echo(
        f"{manifest.model_id} {manifest.version}: {manifest.file_count} files, {size_text(manifest.total_size_bytes)}"
    )
    click.echo(f"  weight hash  {manifest.aggregate_sha256}")
    click.echo(f"  place        {manifest.r2_prefix}/")
    if root is None:
        click.echo("Upload the files there first and manifest.json last, then run this with --register.")
    return OK


def _build(directory: Path, model_id: str, version: str, created_at: str | None) -> "Manifest":
    import time

    from protocol.manifest import ManifestRefused
    from protocol.rfc3339 import format_rfc3339, parse_rfc3339
    from provider.catalog.manifest_builder import build_manifest

    if created_at is not None:
        try:
            parse_rfc3339(created_at)
        except ValueError:
            raise click.UsageError(f"{created_at!r} is no RFC 3339 time such as 2026-07-01T00:00:00Z.") from None
    try:
        return build_manifest(
            directory, model_id=model_id, version=version, created_at=created_at or format_rfc3339(time.time())
        )
    except ManifestRefused as refused:
        raise CommandFailed(str(refused)) from None
    except OSError as error:
        raise CommandFailed(f"{error.filename or directory} cannot be read ({error.strerror}).") from None


def _write(manifest: "Manifest", output: Path) -> None:
    from protocol.manifest import encode_manifest

    try:
        output.write_bytes(encode_manifest(manifest))
    except OSError as error:
        raise CommandFailed(f"{output} cannot be written ({error.strerror}).") from None


def _copy(manifest: "Manifest", directory: Path, root: Path) -> None:
    from provider.catalog.manifest_builder import place_files

    try:
        place_files(manifest, directory, root)
    except OSError as error:
        raise CommandFailed(f"{error.filename or root} cannot be written ({error.strerror}).") from None


def _register(
    manifest: "Manifest", coordinator: str | None, key_file: Path | None, metadata: Path | None
) -> dict[str, object]:
    if key_file is None:
        raise click.UsageError("--register needs --key-file, a file with the coordinator's publishing key.")
    try:
        key = key_file.read_text().strip()
        described = json.loads(metadata.read_text()) if metadata is not None else {}
    except (OSError, ValueError) as error:
        raise CommandFailed(f"The key or the metadata cannot be read ({type(error).__name__}).") from None
    if not isinstance(described, dict):
        raise CommandFailed('The metadata is no JSON object; write for example {"display_name": "Qwen3"}.')
    configuration, _cache = open_cache(coordinator)
    return ask_catalogue(
        configuration,
        lambda client: client.register(manifest, key, described),
        command=f"models publish {manifest.model_id}",
    )
