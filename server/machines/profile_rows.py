"""SQL of the table `demand_profiles`, as functions of a transaction; `updated_at` is microseconds since the epoch.

Coordinators that share a database write over each other: each has watched its own share of the demand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from server.registry.demand_profile import HOURS, DemandProfile, HourOfWeek

if TYPE_CHECKING:
    from collections.abc import Iterable

    from server.store import Tx

MODEL_CHARACTERS: Final = 512
"""Providers name models; a longer name is nobody's, and no index could hold it."""


class _Stored(msgspec.Struct):
    """What the column `profile` holds."""

    since: Annotated[int, msgspec.Meta(ge=0)]
    hours: Annotated[list[HourOfWeek], msgspec.Meta(min_length=HOURS, max_length=HOURS)]


_STORED: Final = msgspec.json.Decoder(_Stored)


async def write_profiles(tx: Tx, profiles: Iterable[DemandProfile], now: int) -> None:
    """Insert or replace these profiles; those with absurd names are left out."""
    for profile in profiles:
        if len(profile.model) > MODEL_CHARACTERS:
            continue
        await tx.execute(
            "INSERT INTO demand_profiles (model, profile, updated_at) VALUES ($1, $2, $3)"
            " ON CONFLICT (model) DO UPDATE SET profile = excluded.profile, updated_at = excluded.updated_at",
            profile.model,
            msgspec.json.encode(_Stored(profile.since, profile.hours)).decode(),
            now,
        )


async def read_profiles(tx: Tx, limit: int) -> list[DemandProfile]:
    """Read the profiles that were written last, newest first; a row that cannot be read is left out."""
    rows = await tx.fetch("SELECT model, profile FROM demand_profiles ORDER BY updated_at DESC, model LIMIT $1", limit)
    found = []
    for row in rows:
        try:
            stored = _STORED.decode(str(row["profile"]))
        except msgspec.MsgspecError:
            continue
        found.append(DemandProfile(str(row["model"]), stored.since, stored.hours))
    return found
