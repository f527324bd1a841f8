"""Bundles of the provider program, right ones and wrong ones, and where a download server keeps them."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable

from nacl.signing import SigningKey

from protocol.release_bundle import ENTRY, bundle_name

MARK = "darkbloom-bundle.json"
PROGRAM = b"#!/bin/sh\nexit 0\n"
"""A program that starts, and says so to whoever tries it."""

PLATFORM = "linux-x86_64"


def file(name: str, content: bytes = b"") -> tuple[tarfile.TarInfo, bytes]:
    """An ordinary file."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    return member, content


def link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    """A symbolic link."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member, b""


def whole(program: bytes = PROGRAM, *, version: str = "") -> list[tuple[tarfile.TarInfo, bytes]]:
    """What a good bundle holds; its mark names `version`."""
    mark = json.dumps({"version": version}).encode()
    return [file(MARK, mark), file(ENTRY, program), link("bin/db", "darkbloom"), file("lib/model.py", b"pass\n")]


def packed(members: Iterable[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    """The archive of some members, the same for the same members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for member, content in members:
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def sha256(content: bytes) -> str:
    """A hash as releases have it."""
    return hashlib.sha256(content).hexdigest()


def signed(bundle: bytes, key: SigningKey) -> str:
    """A signature over a bundle as releases carry it."""
    return base64.b64encode(key.sign(sha256(bundle).encode()).signature).decode()


def place_of(version: str, platform: str = PLATFORM) -> str:
    """Where the download server keeps a bundle, below its base."""
    return f"releases/v{version}/{bundle_name(platform)}"


def release_body(base: str, version: str, bundle: bytes, *, program: bytes = PROGRAM, **members: str) -> dict[str, str]:
    """What a build pipeline sends to register a bundle."""
    platform = members.get("platform", PLATFORM)
    return {
        "version": version,
        "platform": platform,
        "bundle_hash": sha256(bundle),
        "binary_hash": sha256(program),
        "url": f"{base}/{place_of(version, platform)}",
        **members,
    }
