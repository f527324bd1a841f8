"""Whose turn it is to look for machines for what is foreseen, and which machines are looked at. Pure.

One model a round, and a part of the fleet at a time: what is foreseen has time, and a look holds up all requests.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

PART: Final = 256
"""Machines that are looked at in one turn."""
REST_SECONDS: Final = 60.0
"""For a model that has looked at the whole fleet in vain."""


class Turn(Struct):
    """Where a model goes on looking: from the machine `start` on, and not before `rests_until`."""

    model: str
    start: int = 0
    taken_at: float = -math.inf
    rests_until: float = -math.inf

    def end(self, now: float, *, found: bool, offering: int) -> None:
        """Stay where a machine was found, else go on; at the end of all that offer the model rest."""
        self.taken_at = now
        if not found:
            self.start += PART
            if self.start >= offering:
                self.start, self.rests_until = 0, now + REST_SECONDS


class Turns:
    """The turns of all models for which something is foreseen."""

    def __init__(self) -> None:
        self._turns: dict[str, Turn] = {}

    def keep(self, models: Collection[str]) -> None:
        """Remember the turns of these models alone."""
        self._turns = {model: self._turns.get(model) or Turn(model) for model in models}

    def next(self, models: Iterable[str], now: float) -> Turn | None:
        """Of those models that do not rest the one whose last turn is longest ago."""
        awake = (turn for turn in map(self._turns.__getitem__, models) if now >= turn.rests_until)
        return min(awake, key=lambda turn: (turn.taken_at, turn.model), default=None)
