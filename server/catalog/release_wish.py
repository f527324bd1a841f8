"""What a build pipeline sends to register a release, and what operators send to switch one; every rule is here.

Source: trust rules, releases.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

import msgspec
from msgspec import Meta, structs

from protocol.semver import parse_version
from server.catalog.release_rows import DEFAULT_PLATFORM, Release
from server.store.errors import Invalid
from server.trust import NATIVE_BACKEND

PLATFORM: Final = r"^[a-z0-9][a-z0-9._-]{0,63}$"
MAX_CHANGELOG: Final = 32_768
_TEMPLATE: Final = re.compile(r"[A-Za-z0-9._-]+=[0-9a-f]{64}", re.ASCII)

VersionText = Annotated[str, Meta(max_length=64, pattern=r"^[0-9]+\.[0-9]+\.[0-9]+([-+][0-9A-Za-z.-]+)?$")]
Platform = Annotated[str, Meta(max_length=64, pattern=PLATFORM)]
Hash = Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{64}$")]
NoHash = Annotated[str, Meta(pattern=r"^([0-9a-fA-F]{64})?$")]
Line = Annotated[str, Meta(max_length=2048, pattern=r"^[^\x00-\x1f\x7f]*$")]


class ReleaseWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A build of the provider program. The hashes are SHA-256: of `bin/darkbloom` in the bundle, and of the bundle.

    `template_hashes` is `name=hash,name=hash`; `url` is where the bundle lies at the operator's download server, and
    `signature` the Ed25519 signature over `bundle_hash` in base64.
    """

    version: VersionText
    binary_hash: Hash
    bundle_hash: Hash
    url: Line
    platform: Platform = DEFAULT_PLATFORM
    backend: Annotated[str, Meta(max_length=64, pattern=r"^[A-Za-z0-9._-]*$")] = ""
    metallib_hash: NoHash = ""
    python_hash: NoHash = ""
    runtime_hash: NoHash = ""
    template_hashes: Annotated[str, Meta(max_length=16_384, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""
    signature: Annotated[str, Meta(pattern=r"^([A-Za-z0-9+/]{86}==)?$")] = ""
    changelog: Annotated[str, Meta(max_length=MAX_CHANGELOG, pattern=r"^[^\x00]*$")] = ""

    def release(self, *, active: bool, now: int) -> Release:
        """The row that this asks for; raises Invalid for what the types cannot say."""
        if parse_version(self.version) is None:
            raise Invalid("version must be a version by the rules of SemVer, such as 0.7.0 or 0.8.0-dev.1.")
        if self.backend == NATIVE_BACKEND and not self.metallib_hash:
            raise Invalid(f"metallib_hash is needed for the backend {NATIVE_BACKEND}.")
        hashes = {name: getattr(self, name).strip().lower() for name in _HASHES}
        return Release(
            version=self.version,
            platform=self.platform.strip(),
            backend=self.backend.strip(),
            url=self.url,
            signature=self.signature.strip(),
            template_hashes=_templates(self.template_hashes),
            changelog=self.changelog,
            active=active,
            created_at=now,
            **hashes,
        )


class ReleaseName(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A release that was registered."""

    version: Annotated[str, Meta(min_length=1, max_length=128)]
    platform: Platform = DEFAULT_PLATFORM


_HASHES: Final = ("binary_hash", "bundle_hash", "metallib_hash", "python_hash", "runtime_hash")


def is_same(one: Release, other: Release) -> bool:
    """Whether two rows say the same of a build, whenever and by whomever they were written, switched on or off."""
    return structs.replace(one, **_OF_THE_ROW) == structs.replace(other, **_OF_THE_ROW)


_OF_THE_ROW: Final = {"active": True, "created_at": 0, "registered_by": "", "approved_by": ""}


def _templates(text: str) -> str:
    entries = [entry.strip() for entry in text.split(",")] if text.strip() else []
    lowered = [f"{name}={value.lower()}" for name, _, value in (entry.partition("=") for entry in entries)]
    if not all(_TEMPLATE.fullmatch(entry) for entry in lowered):
        raise Invalid("template_hashes must be name=hash,name=hash with SHA-256 in hexadecimal digits.")
    return ",".join(lowered)
