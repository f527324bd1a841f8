"""The weight hash: one SHA-256 over the files that decide what a model computes; both sides use this function.

Per file SHA-256; files sorted by relative POSIX path as a byte string; then SHA-256 over the raw 32-byte digests. Names
and sizes are not part of version 1; version 2 binds them. Source: provider rules, integrity files and weight hash.
"""

import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Literal, NamedTuple

from protocol.canonical import Canonicalisable, canonical

READ_BYTES: Final = 1024 * 1024
PARALLEL_FILES: Final = 4
V2_DOMAIN: Final = b"darkbloom-weights-v2\0"

FileRole = Literal["weight", "index", "tokenizer", "config", "template", "preprocessor", "other"]

WEIGHT_SUFFIXES: Final = (".safetensors", ".npz", ".bin")
_ROLES: Final[dict[str, FileRole]] = {
    "config.json": "config",
    "generation_config.json": "config",
    "quantize_config.json": "config",
    "hadamard.json": "config",
    "tokenizer.json": "tokenizer",
    "tokenizer_config.json": "tokenizer",
    "tokenizer.model": "tokenizer",
    "special_tokens_map.json": "tokenizer",
    "added_tokens.json": "tokenizer",
    "vocab.json": "tokenizer",
    "merges.txt": "tokenizer",
    "chat_template.jinja": "template",
    "chat_template.json": "template",
    "model.safetensors.index.json": "index",
    "preprocessor_config.json": "preprocessor",
    "processor_config.json": "preprocessor",
    "video_preprocessor_config.json": "preprocessor",
}


class FileDigest(NamedTuple):
    """One integrity file: relative POSIX path, raw SHA-256, size in bytes."""

    path: str
    sha256: bytes
    size_bytes: int


def role_of(path: str) -> FileRole:
    """Say what a file is for, by its name; `other` files are not part of the hash."""
    name = path.rpartition("/")[2]
    if name.endswith(WEIGHT_SUFFIXES):
        return "weight"
    return _ROLES.get(name, "other")


def is_integrity_file(path: str) -> bool:
    """Say whether a relative POSIX path belongs to the hash; hidden files and folders never do."""
    return role_of(path) != "other" and not any(part.startswith(".") for part in path.split("/"))


def integrity_files(root: Path) -> list[str]:
    """List the relative POSIX paths of all integrity files below `root`, in hash order. File links are followed.

    Raises `OSError` when a folder cannot be read.
    """
    found: list[str] = []
    for folder, subfolders, names in os.walk(root, onerror=_raise):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        base = Path(folder).relative_to(root)
        found.extend((base / name).as_posix() for name in names)
    return sorted((path for path in found if is_integrity_file(path)), key=os.fsencode)


def digest_file(root: Path, path: str, on_bytes: Callable[[int], None] | None = None) -> FileDigest:
    """Hash one file in blocks of `READ_BYTES`; `on_bytes` hears the size of each block and may raise to stop.

    Blocks the calling thread; the work drops the GIL. Raises `OSError`.
    """
    digest = hashlib.sha256()
    size = 0
    block = bytearray(READ_BYTES)
    view = memoryview(block)
    with (root / path).open("rb", buffering=0) as file:
        while count := file.readinto(block):
            digest.update(view[:count])
            size += count
            if on_bytes is not None:
                on_bytes(count)
    return FileDigest(path, digest.digest(), size)


def combine(digests: Iterable[FileDigest]) -> str | None:
    """Combine file digests into the weight hash, lower-case hex; None when there is no file."""
    ordered = sorted(digests, key=lambda entry: os.fsencode(entry.path))
    if not ordered:
        return None
    return hashlib.sha256(b"".join(entry.sha256 for entry in ordered)).hexdigest()


def combine_v2(digests: Iterable[FileDigest]) -> str | None:
    """Combine paths, sizes and digests into version 2 of the hash; None when there is no file."""
    ordered = sorted(digests, key=lambda entry: os.fsencode(entry.path))
    if not ordered:
        return None
    listing: list[Canonicalisable] = [
        {"path": entry.path, "sha256": entry.sha256.hex(), "size": entry.size_bytes} for entry in ordered
    ]
    return hashlib.sha256(V2_DOMAIN + canonical(listing)).hexdigest()


def digest_folder(root: Path, on_bytes: Callable[[int], None] | None = None) -> list[FileDigest]:
    """Hash all integrity files below `root`, up to `PARALLEL_FILES` at a time; raises `OSError`.

    `on_bytes` is called from worker threads.
    """
    with ThreadPoolExecutor(PARALLEL_FILES, thread_name_prefix="weight-hash") as pool:
        return list(pool.map(lambda path: digest_file(root, path, on_bytes), integrity_files(root)))


def weight_hash(root: Path, on_bytes: Callable[[int], None] | None = None) -> str | None:
    """Hash a model folder; None ("unknown") when any file cannot be read or none is there, never a partial hash."""
    try:
        return combine(digest_folder(root, on_bytes))
    except OSError:
        return None


def _raise(error: OSError) -> None:
    raise error
