"""Making the manifest of a model folder, for publishers. Source: provider rules, publish."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from protocol.manifest import (
    MANIFEST_NAME,
    Manifest,
    ManifestFile,
    ManifestRefused,
    check_manifest,
    encode_manifest,
    is_model_id,
    is_version,
    prefix_of,
)
from protocol.weight_hash import combine, digest_folder, role_of


def build_manifest(
    directory: Path,
    *,
    model_id: str,
    version: str,
    created_at: str,
    on_bytes: Callable[[int], None] | None = None,
) -> Manifest:
    """Hash a folder and describe its integrity files; the same folder gives the same manifest but for `created_at`.

    Blocks; `on_bytes` is called from worker threads. Raises `ManifestRefused` with what is wrong, and `OSError`.
    """
    if not is_model_id(model_id):
        raise ManifestRefused(
            f"{model_id[:100]!r} is no model id; use A-Z a-z 0-9 . _ - and /, no .. and no leading /."
        )
    if not is_version(version):
        raise ManifestRefused(f"{version[:100]!r} is no version; use A-Z a-z 0-9 . _ and -, no ..")
    digests = digest_folder(directory, on_bytes)
    aggregate = combine(digests)
    if aggregate is None:
        raise ManifestRefused(f"{directory} holds no model; name the folder with config.json and the weights.")
    manifest = Manifest(
        schema_version=1,
        model_id=model_id,
        version=version,
        r2_prefix=prefix_of(model_id, version),
        aggregate_sha256=aggregate,
        total_size_bytes=sum(entry.size_bytes for entry in digests),
        file_count=len(digests),
        files=tuple(
            ManifestFile(
                path=entry.path, size_bytes=entry.size_bytes, sha256=entry.sha256.hex(), role=role_of(entry.path)
            )
            for entry in digests
        ),
        created_at=created_at,
    )
    check_manifest(manifest)
    return manifest


def place_files(manifest: Manifest, directory: Path, root: Path) -> None:
    """Copy the files of a manifest to their places below a server's root, the manifest last; raises `OSError`."""
    place = root / manifest.r2_prefix
    for file in manifest.files:
        _copy_whole(directory / file.path, place / file.path)
    fresh = place / f".{MANIFEST_NAME}.new"
    fresh.write_bytes(encode_manifest(manifest))
    os.replace(fresh, place / MANIFEST_NAME)


def _copy_whole(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.new")
    shutil.copyfile(source, fresh)
    os.replace(fresh, target)
