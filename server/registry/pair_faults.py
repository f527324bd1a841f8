"""What fault memory says against one model on one machine, as the gates and the cost read it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from server.registry.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Collection


class PairFaults(Struct, frozen=True, kw_only=True):
    """The state of all fault gates of a pair; `flip_at` is when time alone may first alter it.

    `error_shapes` are the request shapes whose breaker is open, `sick` is the open breaker of the whole machine.
    `ceiling` bounds the token budget that the machine advertises. `rate` is the penalised share of capacity refusals.
    `probe` tells that a cooldown ran out and the next reservation is the one that tries the machine again.
    """

    load_cooldown: bool = False
    error_shapes: Collection[str] = ()
    capacity_cooldown: bool = False
    sick: Reason | None = None
    clamped: bool = False
    ceiling: int | None = None
    rate: float = 0.0
    probe: bool = False
    flip_at: float = math.inf

    def rejection(self, shape: str, *, ignore_health: bool = False) -> Reason | None:
        """Return the first closed fault gate for a request of this shape, or None."""
        if self.load_cooldown:
            return Reason.DISPATCH_LOAD_COOLDOWN
        if shape in self.error_shapes:
            return Reason.ERROR_COOLDOWN
        if self.capacity_cooldown:
            return Reason.CAPACITY_COOLDOWN
        return None if ignore_health else self.sick


NO_FAULTS: Final = PairFaults()
"""Of whom nothing bad is known."""
