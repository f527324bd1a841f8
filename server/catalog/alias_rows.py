"""The rows of aliases, as functions of a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import msgspec

from server.catalog.records import Alias

if TYPE_CHECKING:
    from server.store import Row, Tx

_COLUMNS: Final = (
    "alias_id, display_name, desired_build, previous_build, retired_builds, active, created_at, updated_at"
)


async def read_aliases(tx: Tx) -> list[Alias]:
    """All aliases, switched off ones too, by id."""
    rows = await tx.fetch(f"SELECT {_COLUMNS} FROM model_aliases")
    return sorted((_alias(row) for row in rows), key=lambda alias: alias.id)


async def read_alias(tx: Tx, alias_id: str) -> Alias | None:
    """One alias."""
    row = await tx.row(f"SELECT {_COLUMNS} FROM model_aliases WHERE alias_id = $1", alias_id)
    return None if row is None else _alias(row)


async def write_alias(tx: Tx, alias: Alias, now: int) -> None:
    """Insert or replace an alias; its own times do not matter."""
    await tx.execute(
        "INSERT INTO model_aliases (alias_id, display_name, desired_build, previous_build, retired_builds, active,"
        " created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $7)"
        " ON CONFLICT (alias_id) DO UPDATE SET display_name = excluded.display_name,"
        " desired_build = excluded.desired_build, previous_build = excluded.previous_build,"
        " retired_builds = excluded.retired_builds, active = excluded.active, updated_at = excluded.updated_at",
        alias.id,
        alias.display_name,
        alias.desired_build,
        alias.previous_build,
        msgspec.json.encode(alias.retired_builds).decode(),
        int(alias.active),
        now,
    )


async def delete_alias(tx: Tx, alias_id: str) -> bool:
    """Remove an alias; False when there is none."""
    return await tx.execute("DELETE FROM model_aliases WHERE alias_id = $1", alias_id) == 1


def _alias(row: Row) -> Alias:
    return Alias(
        id=cast(str, row["alias_id"]),
        display_name=cast(str, row["display_name"]),
        desired_build=cast(str, row["desired_build"]),
        previous_build=cast(str, row["previous_build"]),
        retired_builds=msgspec.json.decode(cast(str, row["retired_builds"]), type=tuple[str, ...]),
        active=bool(row["active"]),
        created_at=cast(int, row["created_at"]),
        updated_at=cast(int, row["updated_at"]),
    )
