"""The rows of the provider program's releases, as functions of a transaction.

Invariant: what a row says of a build is written once; only whether it is offered changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import msgspec
from msgspec import structs

from protocol.semver import parse_version

if TYPE_CHECKING:
    from server.store import Row, Tx

DEFAULT_PLATFORM: Final = "macos-arm64"
_COLUMNS: Final = (
    "version, platform, backend, binary_hash, bundle_hash, metallib_hash, python_hash, runtime_hash, template_hashes, "
    "url, signature, changelog, active, registered_by, approved_by, created_at"
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
    signature: str = ""
    changelog: str = ""
    active: bool = True
    registered_by: str = ""
    approved_by: str = ""
    created_at: int = 0


async def latest_release(tx: Tx, platform: str, *, pre_releases: bool = False) -> Release | None:
    """The highest active version for a platform; of equal precedence the newest row. Unreadable ones do not count."""
    # Anybody may ask, and changelogs are long: only the one that is the answer is read whole.
    rows = await tx.fetch("SELECT version, created_at FROM releases WHERE platform = $1 AND active = 1", platform)
    ranked = [
        (parsed, cast(int, row["created_at"]), version)
        for row in rows
        if (parsed := parse_version(version := cast(str, row["version"]))) is not None
        and (pre_releases or not is_pre_release(version))
    ]
    return await read_release(tx, max(ranked, key=lambda one: one[:2])[2], platform) if ranked else None


async def read_releases(tx: Tx) -> list[Release]:
    """All releases, switched off ones too, newest first."""
    rows = await tx.fetch(f"SELECT {_COLUMNS} FROM releases")
    # Sorted here: engines differ in the order of letters.
    return sorted(map(_release, rows), key=lambda one: (-one.created_at, one.platform, one.version))


async def read_release(tx: Tx, version: str, platform: str) -> Release | None:
    """One release."""
    row = await tx.row(f"SELECT {_COLUMNS} FROM releases WHERE version = $1 AND platform = $2", version, platform)
    return None if row is None else _release(row)


async def insert_release(tx: Tx, release: Release) -> bool:
    """Write a release; False when its version and platform are there already, whose row is never changed."""
    values = (int(value) if isinstance(value, bool) else value for value in structs.astuple(release))
    places = ", ".join(f"${number}" for number in range(1, len(Release.__struct_fields__) + 1))
    written = await tx.execute(
        f"INSERT INTO releases ({', '.join(Release.__struct_fields__)}) VALUES ({places})"
        " ON CONFLICT (version, platform) DO NOTHING",
        *values,
    )
    return written == 1


async def switch_release(tx: Tx, version: str, platform: str, *, active: bool, approved_by: str) -> bool:
    """Offer a release or not; False when there is none. Who switches it on has approved it."""
    changed = await tx.execute(
        "UPDATE releases SET active = $3, approved_by = COALESCE(CAST($4 AS TEXT), approved_by)"
        " WHERE version = $1 AND platform = $2",
        version,
        platform,
        int(active),
        approved_by if active else None,
    )
    return changed == 1


def is_pre_release(version: str) -> bool:
    """Whether a version is one for testers, such as `1.2.0-rc.1`."""
    return "-" in version.partition("+")[0]


def _release(row: Row) -> Release:
    texts = {name: cast(str, row[name]) for name in _COLUMNS.split(", ") if name not in ("active", "created_at")}
    return Release(**texts, active=bool(row["active"]), created_at=cast(int, row["created_at"]))
