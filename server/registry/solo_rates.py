"""What a stream would run at alone, learned from rates that machines report while they serve several at once.

Every sample is taken back to a batch of one before samples are pooled, and loses half of its weight every ten minutes.
Few samples are drawn towards what is known of comparable machines.

Weights are kept relative to one epoch, where new samples weigh more instead of old ones less: a heartbeat then costs
one power of two and a few additions. Now and then all of them are brought back to a newer epoch.
Source: routing, rates seen by the coordinator.
"""

from __future__ import annotations

import math
from typing import Final, TypeVar

HALF_LIFE: Final = 600.0
SHRINK: Final = 8.0
SLOPE_SAMPLES_MIN: Final = 20.0
SLOPE_SPREAD_MIN: Final = 0.25
FACTOR_MIN: Final = 0.02
FACTOR_MAX: Final = 1.0
DEFAULT_FACTOR: Final = 0.39
FACTOR_EVERY: Final = 32
"""Samples of a class between two looks at its load factor."""
CLASS_SAMPLES_MIN: Final = 5.0
MACHINES_MAX: Final = 65_536
CLASSES_MAX: Final = 8_192
EPOCH_SECONDS: Final = 512 * HALF_LIFE
"""Weights double with each half-life: after this long they are far from the end of the floating numbers."""

_Key = TypeVar("_Key")
_Record = TypeVar("_Record", "WeightedMean", "LoadFactor")


def shrunk(observed: float, samples: float, prior: float) -> float:
    """An observed mean of so many samples, drawn towards a prior; the prior alone without samples."""
    return (samples * observed + SHRINK * prior) / (samples + SHRINK)


class WeightedMean:
    """A mean of weighted samples."""

    __slots__ = ("total", "weight")

    def __init__(self) -> None:
        self.weight = 0.0
        self.total = 0.0

    @property
    def mean(self) -> float:
        """The mean, 0 without samples."""
        return self.total / self.weight if self.weight > 0 else 0.0

    def scale(self, factor: float) -> None:
        """Multiply all weights."""
        self.weight *= factor
        self.total *= factor


class LoadFactor:
    """k of `rate(b) = solo / (1 + k·b)`, by a straight line through 1/rate over the batch size b."""

    __slots__ = ("_b", "_bb", "_by", "_fresh", "_n", "_y", "learned", "value")

    def __init__(self) -> None:
        self._n = self._b = self._bb = self._y = self._by = 0.0
        self._fresh = 0
        self.learned = False
        self.value = DEFAULT_FACTOR

    def add(self, batch: int, rate: float, weight: float, present: float) -> None:
        """Take the rate of one stream among `batch` streams; `present` is the weight of a sample of now."""
        inverse = weight / rate
        self._n += weight
        self._b += weight * batch
        self._bb += weight * batch * batch
        self._y += inverse
        self._by += inverse * batch
        self._fresh += 1
        if self._fresh >= FACTOR_EVERY:
            self._fresh = 0
            self._learn(present)

    def scale(self, factor: float) -> None:
        """Multiply all weights."""
        self._n *= factor
        self._b *= factor
        self._bb *= factor
        self._y *= factor
        self._by *= factor

    def _learn(self, present: float) -> None:
        n = self._n
        spread = self._bb / n - (self._b / n) ** 2
        if n / present < SLOPE_SAMPLES_MIN or spread < SLOPE_SPREAD_MIN:
            return
        slope = (self._by / n - self._b * self._y / n**2) / spread
        at_zero = self._y / n - slope * self._b / n
        if at_zero > 0:
            self.learned = True
            self.value = min(FACTOR_MAX, max(FACTOR_MIN, slope / at_zero))


class _Feed:
    """The records that one model on one machine feeds."""

    __slots__ = ("everywhere", "factor", "kind", "machine")

    def __init__(self, factor: LoadFactor, kind: WeightedMean, everywhere: WeightedMean) -> None:
        self.machine = WeightedMean()
        self.factor = factor
        self.kind = kind
        self.everywhere = everywhere


class LearnedRates:
    """Solo rates by machine, by class of machines and by model; the load factor by class.

    Invariant: at most `MACHINES_MAX` machines and `CLASSES_MAX` classes; the oldest one leaves first.
    """

    def __init__(self) -> None:
        self._epoch: float | None = None
        self._feeds: dict[tuple[str, str], _Feed] = {}
        self._kinds: dict[tuple[str, str], WeightedMean] = {}
        self._models: dict[str, WeightedMean] = {}
        self._factors: dict[tuple[str, str], LoadFactor] = {}

    def feed(self, stable_id: str, model: str, chip_class: str, rate: float, *, batch: int, now: float) -> None:
        """Take the rate of one stream (tokens/s) on a machine that runs `batch` of them."""
        feed = self._feeds.get((stable_id, model))
        if feed is None:
            feed = self._bind(stable_id, model, chip_class)
        weight = self._weight(now)
        factor = feed.factor
        factor.add(batch, rate, weight, weight)
        total = weight * rate * (1 + factor.value * batch)
        for record in (feed.machine, feed.kind, feed.everywhere):
            record.weight += weight
            record.total += total

    def factor(self, model: str, chip_class: str, configured: float) -> float:
        """The learned load factor, else the configured one."""
        found = self._factors.get((model, chip_class))
        return found.value if found is not None and found.learned else configured

    def solo(self, stable_id: str, model: str, chip_class: str, *, benchmark: float, now: float) -> float:
        """The machine's own mean, drawn towards its class, else its benchmark, else its model; 0: nothing was learned.

        `benchmark` is the registered rate, 0 without one.
        """
        feed, kind = self._feeds.get((stable_id, model)), self._kinds.get((model, chip_class))
        if feed is None and kind is None and (benchmark > 0 or model not in self._models):
            return 0.0
        present, everywhere = self._weight(now), self._models.get(model)
        if kind is not None and kind.weight >= CLASS_SAMPLES_MIN * present:
            prior = kind.mean
        elif benchmark > 0:
            prior = benchmark if feed is not None else 0.0
        elif everywhere is not None and everywhere.weight >= CLASS_SAMPLES_MIN * present:
            prior = everywhere.mean
        else:
            prior = feed.machine.mean if feed is not None else 0.0
        return prior if feed is None else shrunk(feed.machine.mean, feed.machine.weight / present, prior)

    def _weight(self, now: float) -> float:
        """The weight of a sample of now."""
        if self._epoch is None:
            self._epoch = now
        age = now - self._epoch
        if age > EPOCH_SECONDS:
            self._move_epoch(now, math.exp2(-age / HALF_LIFE))
            return 1.0
        return math.exp2(age / HALF_LIFE) if age > 0 else 1.0

    def _move_epoch(self, now: float, factor: float) -> None:
        self._epoch = now
        for feed in self._feeds.values():
            feed.machine.scale(factor)
        for mean in (*self._kinds.values(), *self._models.values()):
            mean.scale(factor)
        for one in self._factors.values():
            one.scale(factor)

    def _bind(self, stable_id: str, model: str, chip_class: str) -> _Feed:
        kind = (model, chip_class)
        made = _Feed(
            _found(self._factors, kind, LoadFactor),
            _found(self._kinds, kind, WeightedMean),
            _found(self._models, model, WeightedMean),
        )
        if len(self._feeds) >= MACHINES_MAX:
            del self._feeds[next(iter(self._feeds))]
        self._feeds[stable_id, model] = made
        return made


def _found(records: dict[_Key, _Record], key: _Key, make: type[_Record]) -> _Record:
    found = records.get(key)
    if found is None:
        if len(records) >= CLASSES_MAX:
            del records[next(iter(records))]
        found = records[key] = make()
    return found
