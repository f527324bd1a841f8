"""Release rows as the coordinator publishes them.

Source: trust rules, releases; provider rules, self-update.
"""

import re
from typing import Final
from urllib.parse import urlsplit

import msgspec

from protocol.semver import parse_version
from provider.link.address import is_loopback
from provider.upstream import Upstream

LATEST_PATH: Final = "/v1/releases/latest"
_HASH: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


class ReleaseRefused(Exception):
    """The row cannot be used; the text says why."""


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """One row. `bundle_hash` is of the archive, `binary_hash` of `bin/darkbloom` inside it; both lower-case hex."""

    version: str
    url: str
    bundle_hash: str
    binary_hash: str
    platform: str = ""
    changelog: str = ""
    signature: str = ""

    def checked(self) -> "Release":
        """Give the row with its hashes in lower case; raises `ReleaseRefused` for what cannot be trusted."""
        if parse_version(self.version) is None:
            raise ReleaseRefused("The release names no version that can be compared; tell the operator.")
        hashes = self.bundle_hash.lower(), self.binary_hash.lower()
        if not all(_HASH.fullmatch(entry) for entry in hashes):
            raise ReleaseRefused(f"The release {self.version} has no usable hashes; it is not installed.")
        parts = urlsplit(self.url)
        is_local = parts.scheme == "http" and is_loopback(parts.hostname or "")
        if not (parts.scheme == "https" or is_local) or parts.username or parts.password:
            raise ReleaseRefused(f"The release {self.version} lies at an address that is not used (https only).")
        return msgspec.structs.replace(self, bundle_hash=hashes[0], binary_hash=hashes[1])


def fetch_latest(upstream: Upstream, platform: str) -> Release | None:
    """Ask for the newest release of a platform; None when there is none.

    Raises `ReleaseRefused` and `provider.upstream.UpstreamUnreachable`.
    """
    answer = upstream.get(LATEST_PATH, query={"platform": platform})
    if answer.status == 404:
        return None
    if answer.status != 200:
        why = answer.error_text or f"status {answer.status}"
        raise ReleaseRefused(f"The coordinator {upstream.base} did not name a release: {why}")
    try:
        return msgspec.convert(answer.content, Release).checked()
    except msgspec.ValidationError:
        raise ReleaseRefused(f"The coordinator {upstream.base} named a release that is not understood.") from None
