"""Which models are asked for, and what goes wrong for lack of warm machines. Pure; seconds of the monotonic clock.

Invariant: at most `MODELS_MAX` models, the one that was quiet longest leaves first.
Source: routing, warm-pool controller, signals.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from server.registry.demand_profile import DemandProfiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WINDOW: Final = 60.0
HALVE_EVERY: Final = 60.0
TRAFFIC_SECONDS: Final = 600.0
MODELS_MAX: Final = 4_096


class Signal(StrEnum):
    """One thing that a further warm machine might have prevented."""

    CAPACITY_REJECT = "capacity_reject"
    TTFT_MISS = "ttft_miss"
    COLD_DISPATCH = "cold_dispatch"
    SPECULATIVE_STARTED = "speculative_started"
    SPECULATIVE_WON = "speculative_won"


SPILL: Final = frozenset({Signal.CAPACITY_REJECT, Signal.TTFT_MISS, Signal.COLD_DISPATCH})
"""Arrivals that found no warm place."""


class Counters:
    """The signals of one model: halved after each minute of activity, zero after a window without any."""

    __slots__ = ("_counts", "_halved_at", "_last", "spilled")

    def __init__(self) -> None:
        self._counts: dict[Signal, float] = {}
        self._halved_at = 0.0
        self._last = 0.0
        self.spilled = 0
        """Arrivals without a warm place since somebody asked last."""

    def note(self, signal: Signal, now: float) -> None:
        """Count one."""
        self._fade(now)
        if not self._counts:
            self._halved_at = now
        self._counts[signal] = self._counts.get(signal, 0.0) + 1.0
        self._last = now
        if signal in SPILL:
            self.spilled += 1

    def read(self, now: float) -> dict[Signal, float]:
        """The counts as of now."""
        self._fade(now)
        return dict(self._counts)

    def take_spilled(self) -> int:
        """How many spilled since the last call."""
        spilled, self.spilled = self.spilled, 0
        return spilled

    def _fade(self, now: float) -> None:
        if now - self._last > WINDOW:
            self._counts.clear()
            return
        while now - self._halved_at >= HALVE_EVERY:
            self._halved_at += HALVE_EVERY
            self._counts = {signal: count / 2 for signal, count in self._counts.items()}


class Demand:
    """The counters of all models, and when each was last asked for. `on_note` is called after every signal."""

    def __init__(self) -> None:
        self._models: OrderedDict[str, Counters] = OrderedDict()
        self._asked_at: OrderedDict[str, float] = OrderedDict()
        self.profiles = DemandProfiles()
        """What models needed at each hour of the week."""
        self.on_note: Callable[[], None] | None = None

    def asked(self, model: str, now: float) -> None:
        """Note a request for a model."""
        self._asked_at[model] = now
        self._asked_at.move_to_end(model)
        if len(self._asked_at) > MODELS_MAX:
            self._asked_at.popitem(last=False)

    def has_traffic(self, model: str, now: float) -> bool:
        """Whether the model was asked for in the last ten minutes."""
        asked_at = self._asked_at.get(model)
        return asked_at is not None and now - asked_at <= TRAFFIC_SECONDS

    def in_use(self, now: float) -> Iterator[str]:
        """Models that were asked for in the last ten minutes, the latest first."""
        for model, asked_at in reversed(self._asked_at.items()):
            if now - asked_at > TRAFFIC_SECONDS:
                return
            yield model

    def waits(self, model: str, now: float) -> None:
        """Note that a request waits: perhaps a machine can be made ready for it."""
        self.asked(model, now)
        if self.on_note is not None:
            self.on_note()

    def note(self, model: str, signal: Signal, now: float) -> None:
        """Count one signal of a model."""
        found = self._models.get(model)
        if found is None:
            if len(self._models) >= MODELS_MAX:
                self._models.popitem(last=False)
            found = self._models[model] = Counters()
        else:
            self._models.move_to_end(model)
        found.note(signal, now)
        if self.on_note is not None:
            self.on_note()

    def read(self, model: str, now: float) -> dict[Signal, float]:
        """The counts of a model."""
        found = self._models.get(model)
        return found.read(now) if found is not None else {}

    def take_spilled(self, model: str) -> int:
        """Arrivals of a model that found no warm place since the last call."""
        found = self._models.get(model)
        return found.take_spilled() if found is not None else 0

    def models(self) -> tuple[str, ...]:
        """Models with a record."""
        return tuple(self._models)
