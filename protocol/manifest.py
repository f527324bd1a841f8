"""The manifest of a published model build: its files with sizes and hashes, the checks on it, and where it is stored.

Source: provider rules, registry and download; the aggregate is the weight hash.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Annotated, Final

import msgspec

from protocol.weight_hash import FileDigest, combine, is_integrity_file

SCHEMA_VERSION: Final = 1
MAX_MANIFEST_BYTES: Final = 1024 * 1024
MAX_FILES: Final = 16_384
MAX_TOTAL_BYTES: Final = 2**53
MANIFEST_NAME: Final = "manifest.json"
PARTIAL_SUFFIXES: Final = (".part", ".part.json")
"""Endings that a download gives to unfinished files; a manifest may not name such files."""

_MODEL_ID: Final = re.compile(r"[A-Za-z0-9._/-]{1,256}", re.ASCII)
_VERSION: Final = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
_PREFIX: Final = re.compile(r"[A-Za-z0-9._/-]{1,512}", re.ASCII)
_HEX64: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_NOT_IN_SLUG: Final = re.compile(r"[^A-Za-z0-9._-]", re.ASCII)

Size = Annotated[int, msgspec.Meta(ge=0, le=MAX_TOTAL_BYTES)]


class ManifestRefused(ValueError):
    """A manifest breaks a rule; the text is a full sentence that quotes nothing longer than a path."""


class ManifestFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file: relative POSIX path, exact size, lower-case hex SHA-256."""

    path: str
    size_bytes: Size
    sha256: str
    role: str = "other"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one build; `created_at` is RFC 3339 and the only field that differs between two builders."""

    schema_version: int
    model_id: str
    version: str
    r2_prefix: str
    aggregate_sha256: str
    total_size_bytes: Size
    file_count: int
    files: tuple[ManifestFile, ...]
    created_at: str = ""


def parse_manifest(content: bytes, *, model_id: str = "", r2_prefix: str = "", aggregate: str = "") -> Manifest:
    """Decode and check a manifest; what is given besides must be equal to what it says.

    Raises `ManifestRefused` for the first broken rule. Nothing in a manifest that passed leads out of its folder.
    """
    if len(content) > MAX_MANIFEST_BYTES:
        raise ManifestRefused(f"The manifest is larger than {MAX_MANIFEST_BYTES} bytes; split the model.")
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ManifestRefused("The manifest is no JSON of the expected shape; publish the model again.") from None
    check_manifest(manifest)
    for name, wanted, found in (
        ("model id", model_id, manifest.model_id),
        ("prefix", r2_prefix, manifest.r2_prefix),
        ("weight hash", aggregate, manifest.aggregate_sha256),
    ):
        if wanted and wanted != found:
            raise ManifestRefused(f"The manifest names another {name} than the catalogue; publish the model again.")
    return manifest


def check_manifest(manifest: Manifest) -> None:
    """Raise `ManifestRefused` for the first broken rule."""
    if manifest.schema_version != SCHEMA_VERSION:
        raise ManifestRefused(
            f"The manifest has schema {manifest.schema_version}; this program reads {SCHEMA_VERSION}."
        )
    if not is_model_id(manifest.model_id):
        raise ManifestRefused("The manifest names no valid model id; use A-Z a-z 0-9 . _ - and /.")
    if not is_version(manifest.version):
        raise ManifestRefused("The manifest names no valid version; use A-Z a-z 0-9 . _ and -.")
    if not is_prefix(manifest.r2_prefix):
        raise ManifestRefused("The manifest names no valid prefix; it is a relative path without . and .. in it.")
    if manifest.file_count != len(manifest.files) or not 1 <= manifest.file_count <= MAX_FILES:
        raise ManifestRefused(f"The manifest must list 1 to {MAX_FILES} files and count them rightly.")
    for file in manifest.files:
        _check_file(file)
    _check_paths(manifest.files)
    if sum(file.size_bytes for file in manifest.files) != manifest.total_size_bytes:
        raise ManifestRefused("The sizes in the manifest do not add up to its total; publish the model again.")
    if aggregate_of(manifest.files) != manifest.aggregate_sha256:
        raise ManifestRefused("The files in the manifest do not give its weight hash; publish the model again.")


def aggregate_of(files: Iterable[ManifestFile]) -> str | None:
    """Compute the weight hash that a folder with these files has; None when none of them counts."""
    return combine(
        FileDigest(file.path, bytes.fromhex(file.sha256), file.size_bytes)
        for file in files
        if is_integrity_file(file.path)
    )


def encode_manifest(manifest: Manifest) -> bytes:
    """Write a manifest as it is stored: the same bytes for the same content, for people to read too."""
    return msgspec.json.format(msgspec.json.encode(manifest, order="deterministic"), indent=1) + b"\n"


def is_model_id(text: str) -> bool:
    """Whether a text can be the id of a published model: safe as a path below any folder."""
    return _MODEL_ID.fullmatch(text) is not None and not text.startswith("/") and ".." not in text


def is_version(text: str) -> bool:
    """Whether a text can be a version; it is one path segment."""
    return _VERSION.fullmatch(text) is not None and ".." not in text and text != "."


def is_prefix(text: str) -> bool:
    """Whether a text can be the place of a build: a relative path of plain segments."""
    return _PREFIX.fullmatch(text) is not None and not any(part in ("", ".", "..") for part in text.split("/"))


def is_file_path(text: str) -> bool:
    """Whether a text is a relative POSIX path that stays below its folder on every system."""
    if not text or "\\" in text or "\0" in text or len(text.encode()) > 1024 or not text.isprintable():
        return False
    return not any(part in ("", ".", "..") or len(part.encode()) > 255 for part in text.split("/"))


def slug_of(model_id: str) -> str:
    """Give the readable and unique folder name of a model id."""
    slug = _NOT_IN_SLUG.sub("-", model_id).strip("-") or "model"
    return f"{slug}--{hashlib.sha256(model_id.encode()).hexdigest()[:12]}"


def prefix_of(model_id: str, version: str) -> str:
    """Give the place of a build below the root of the download server."""
    return f"v2/{slug_of(model_id)}/{version}"


def _check_file(file: ManifestFile) -> None:
    if not is_file_path(file.path):
        raise ManifestRefused(f"The manifest names the file {file.path[:100]!r}, which is no safe relative path.")
    if file.path.endswith(PARTIAL_SUFFIXES) or file.path == MANIFEST_NAME:
        raise ManifestRefused(f"The manifest names the file {file.path[:100]!r}, whose name is reserved.")
    if _HEX64.fullmatch(file.sha256) is None:
        raise ManifestRefused(f"The hash of {file.path[:100]!r} in the manifest is no lower-case hex SHA-256.")


def _check_paths(files: Iterable[ManifestFile]) -> None:
    """No path twice, not even on a file system that ignores case, and none that is a folder of another."""
    seen: set[str] = set()
    folders: set[str] = set()
    for file in files:
        folded = file.path.casefold()
        if folded in seen:
            raise ManifestRefused(f"The manifest names {file.path[:100]!r} twice (case does not count).")
        seen.add(folded)
        parts = folded.split("/")
        folders.update("/".join(parts[:depth]) for depth in range(1, len(parts)))
    if clash := sorted(seen & folders):
        raise ManifestRefused(f"The manifest names {clash[0][:100]!r} as a file and as a folder.")
