"""The rows of the provider program's releases, as functions of a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import msgspec

from protocol.semver import parse_version

if TYPE_CHECKING:
    from server.store import Row, Tx

DEFAULT_PLATFORM: Final = "macos-arm64"
_COLUMNS: Final = (
    "version, platform, backend, binary_hash, bundle_hash, metallib_hash, python_hash, runtime_hash, template_hashes, "
    "url, changelog, active, created_at"
)


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """One build of the provider program; `template_hashes` is `name=hash,name=hash`, the time in microseconds."""

    version: str
    platform: str
    backend: str = ""
    binary_hash: str = ""
    bundle_hash: str = ""
    metallib_hash: str = ""
    python_hash: str = ""
    runtime_hash: str = ""
    template_hashes: str = ""
    url: str = ""
    changelog: str = ""
    active: bool = True
    created_at: int = 0


async def latest_release(tx: Tx, platform: str, *, pre_releases: bool = False) -> Release | None:
    """The highest active version for a platform; of equal precedence the newest row. Unreadable ones do not count."""
    rows = await tx.fetch(f"SELECT {_COLUMNS} FROM releases WHERE platform = $1 AND active = 1", platform)
    ranked = [
        (parsed, release.created_at, release)
        for release in map(_release, rows)
        if (parsed := parse_version(release.version)) is not None
        and (pre_releases or not is_pre_release(release.version))
    ]
    return max(ranked, key=lambda one: one[:2])[2] if ranked else None


def is_pre_release(version: str) -> bool:
    """Whether a version is one for testers, such as `1.2.0-rc.1`."""
    return "-" in version.partition("+")[0]


def _release(row: Row) -> Release:
    texts = {name: cast(str, row[name]) for name in _COLUMNS.split(", ") if name not in ("active", "created_at")}
    return Release(**texts, active=bool(row["active"]), created_at=cast(int, row["created_at"]))
