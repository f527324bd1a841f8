"""Getting a bundle: bytes by hash, then files by rule, beside the place where they will live.

Invariant: nothing is unpacked before the archive's hash was right, nothing leaves the staging folder, and the entry
file's hash is taken from the unpacked file.
"""

import hashlib
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import httpx

from protocol.release_archive import ArchiveRefused, open_archive
from protocol.release_bundle import ENTRY, MAX_BUNDLE_BYTES
from provider.update.members import extract_member
from provider.update.release import Release, ReleaseRefused

MAX_SIGNATURE_BYTES: Final = 1024
SIGNATURE_SUFFIX: Final = ".sig"
TIMEOUT_SECONDS: Final = 120.0
_PIECE: Final = 1024 * 1024

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all (0: unknown)."""


def fetch_bundle(release: Release, target: Path, *, progress: Progress = lambda _done, _total: None) -> None:
    """Download the archive to `target` and check its hash; blocks. Raises `ReleaseRefused`; `target` is gone then."""
    digest = hashlib.sha256()
    done = 0
    try:
        with (
            target.open("wb") as file,
            httpx.stream(
                "GET", release.url, timeout=TIMEOUT_SECONDS, trust_env=False, verify=_verify(release.url)
            ) as answer,
        ):
            if answer.status_code != 200:
                raise ReleaseRefused(f"The bundle {release.url} cannot be fetched (status {answer.status_code}).")
            total = int(answer.headers.get("content-length", "0") or 0)
            for piece in answer.iter_raw(_PIECE):
                done += len(piece)
                if done > MAX_BUNDLE_BYTES:
                    raise ReleaseRefused(f"The bundle {release.url} is larger than 2 GiB; it is not installed.")
                digest.update(piece)
                file.write(piece)
                progress(done, total)
            file.flush()
            os.fsync(file.fileno())
        if digest.hexdigest() != release.bundle_hash:
            raise ReleaseRefused(
                f"The bundle of {release.version} does not have the hash of its release; nothing was installed."
            )
    except httpx.HTTPError as error:
        target.unlink(missing_ok=True)
        raise ReleaseRefused(f"The bundle {release.url} cannot be fetched ({type(error).__name__}).") from None
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def fetch_signature(release: Release) -> str:
    """Give the signature of the row, else what lies beside the bundle under its name and `.sig`; "" for none. Blocks.

    Raises `ReleaseRefused` when the server cannot be asked.
    """
    if release.signature:
        return release.signature
    parts = urlsplit(release.url)
    url = urlunsplit(parts._replace(path=parts.path + SIGNATURE_SUFFIX))
    try:
        with httpx.stream("GET", url, timeout=TIMEOUT_SECONDS, trust_env=False, verify=_verify(url)) as answer:
            if answer.status_code != 200:
                return ""
            text = b""
            for piece in answer.iter_raw(MAX_SIGNATURE_BYTES):
                text += piece
                if len(text) > MAX_SIGNATURE_BYTES:
                    return ""
    except httpx.HTTPError as error:
        raise ReleaseRefused(f"The signature {url} cannot be fetched ({type(error).__name__}).") from None
    return text.decode("ascii", "replace")


def unpack_bundle(archive: Path, into: Path, release: Release) -> None:
    """Unpack into a folder that is not there yet, and check the entry file; blocks. Raises `ReleaseRefused`."""
    into.mkdir(mode=0o700, parents=True)
    try:
        with archive.open("rb") as file, open_archive(file) as members:
            for member in members:
                extract_member(members.tar, member, into)
    except ArchiveRefused as refused:
        raise ReleaseRefused(f"The bundle of {release.version} {refused}; nothing was installed.") from None
    except OSError as error:
        raise ReleaseRefused(
            f"The bundle of {release.version} cannot be unpacked ({type(error).__name__}); nothing was installed."
        ) from None
    entry = into / ENTRY
    if entry.is_symlink() or not entry.is_file():
        raise ReleaseRefused(f"The bundle of {release.version} holds no {ENTRY}; nothing was installed.")
    if _file_hash(entry) != release.binary_hash:
        raise ReleaseRefused(
            f"The program in the bundle of {release.version} does not have the hash of its release; nothing was "
            "installed."
        )
    entry.chmod(0o755)


def _verify(url: str) -> ssl.SSLContext | bool:
    return ssl.create_default_context() if url.startswith("https:") else False


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
