"""What a machine's floors of a month have added up to so far, in fractions of a micro-USD.

Invariant: nothing is stored for it: every draw says its memory and its uptime, from which its exact floor follows. The
sum is read once, and then only the draws that are new. Owner: the runner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from server.rewards.epochs import EPOCH_MS
from server.rewards.floors import monthly_tier

if TYPE_CHECKING:
    from server.rewards.epochs import Epoch
    from server.rewards.floors import FloorScale
    from server.store import Row, Store, Tx


class Remainders:
    """Sums of the units of one month, by machine; a new month starts at nothing."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._month = ""
        self._last_row = 0
        self._units: dict[str, int] = {}

    async def units(self, epoch: Epoch, scale: FloorScale) -> dict[str, int]:
        """Give the units of all draws of the epoch's month by machine, in whatever order they were made."""
        if epoch.month_id != self._month:
            self._month, self._last_row, self._units = epoch.month_id, 0, {}
        month, next_month, last_row = self._month, epoch.next_month_id, self._last_row

        async def read(tx: Tx) -> list[Row]:
            # Equal uptimes are equal numbers: grouping by them leaves a few rows for each machine.
            return await tx.fetch(
                "SELECT provider_key, memory_gb, uptime_frac, COUNT(*) AS epochs, MAX(id) AS last_row"
                " FROM provider_floor_draws WHERE epoch_id >= $1 AND epoch_id < $2 AND id > $3"
                " GROUP BY provider_key, memory_gb, uptime_frac",
                month,
                next_month,
                last_row,
            )

        for row in await self._store.statistics(read):
            uptime_ms = round(cast(float, row["uptime_frac"]) * EPOCH_MS)
            units = scale.units(monthly_tier(cast(int, row["memory_gb"])), uptime_ms)
            key = cast(str, row["provider_key"])
            self._units[key] = self._units.get(key, 0) + units * cast(int, row["epochs"])
            self._last_row = max(self._last_row, cast(int, row["last_row"]))
        return dict(self._units)
