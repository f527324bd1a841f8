"""SQL of the table `ttft_ratios`, as functions of a transaction; times are microseconds since the epoch.

Coordinators that share a database write over each other: either one's samples are of the same fleet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from server.registry.calibration import RatioWindow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from server.store import Tx

SUBJECT_CHARACTERS: Final = 512
"""Providers name models and chips; a longer name is nobody's, and no index could hold it."""
_DECIMALS: Final = 4
_KEY: Final = msgspec.json.Decoder(tuple[str, str | None])
_RATIOS: Final = msgspec.json.Decoder(tuple[Annotated[float, msgspec.Meta(ge=0)], ...])


async def write_ratios(tx: Tx, windows: Iterable[RatioWindow], now: int) -> None:
    """Insert or replace these windows; those with absurd names are left out."""
    for window in windows:
        subject = msgspec.json.encode((window.model, window.chip_family)).decode()
        if len(subject) > SUBJECT_CHARACTERS:
            continue
        await tx.execute(
            "INSERT INTO ttft_ratios (subject, ratios, updated_at) VALUES ($1, $2, $3)"
            " ON CONFLICT (subject) DO UPDATE SET ratios = excluded.ratios, updated_at = excluded.updated_at",
            subject,
            msgspec.json.encode([round(ratio, _DECIMALS) for ratio in window.ratios]).decode(),
            now,
        )


async def read_ratios(tx: Tx, limit: int) -> list[RatioWindow]:
    """Read the windows that were written last, newest first; a row that cannot be read is left out."""
    rows = await tx.fetch("SELECT subject, ratios FROM ttft_ratios ORDER BY updated_at DESC, subject LIMIT $1", limit)
    found = []
    for row in rows:
        try:
            model, chip_family = _KEY.decode(str(row["subject"]))
            found.append(RatioWindow(model, chip_family, _RATIOS.decode(str(row["ratios"]))))
        except msgspec.MsgspecError:
            continue
    return found
