"""What a stream would run at alone, learned from rates that machines report while they serve several at once.

Every sample is taken back to a batch of one before samples are pooled, and loses its weight over time. Few samples are
drawn towards what is known of comparable machines.
Source: routing, rates seen by the coordinator.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Final, TypeVar

HALF_LIFE: Final = 600.0
SHRINK: Final = 8.0
SLOPE_SAMPLES_MIN: Final = 20.0
SLOPE_SPREAD_MIN: Final = 0.25
FACTOR_MIN: Final = 0.02
FACTOR_MAX: Final = 1.0
DEFAULT_FACTOR: Final = 0.39
CLASS_SAMPLES_MIN: Final = 5.0
MACHINES_MAX: Final = 65_536
CLASSES_MAX: Final = 8_192

_Key = TypeVar("_Key", str, tuple[str, str])
_Record = TypeVar("_Record", "DecayedMean", "LoadFactor")


def shrunk(observed: float, samples: float, prior: float) -> float:
    """An observed mean of so many samples, drawn towards a prior; the prior alone without samples."""
    return (samples * observed + SHRINK * prior) / (samples + SHRINK)


class DecayedMean:
    """Mean and variance of samples whose weight halves every ten minutes."""

    __slots__ = ("_at", "_squares", "_sum", "weight")

    def __init__(self) -> None:
        self._at = 0.0
        self.weight = 0.0
        self._sum = 0.0
        self._squares = 0.0

    def add(self, sample: float, now: float) -> None:
        """Take a sample."""
        self._fade(now)
        self.weight += 1.0
        self._sum += sample
        self._squares += sample * sample

    def weight_at(self, now: float) -> float:
        """How many fresh samples the record is worth."""
        return self.weight * fading(now - self._at)

    @property
    def mean(self) -> float:
        """The mean, 0 without samples."""
        return self._sum / self.weight if self.weight > 0 else 0.0

    @property
    def variance(self) -> float:
        """The variance, 0 without samples."""
        return max(0.0, self._squares / self.weight - self.mean**2) if self.weight > 0 else 0.0

    def _fade(self, now: float) -> None:
        factor = fading(now - self._at)
        self._at = max(self._at, now)
        self.weight *= factor
        self._sum *= factor
        self._squares *= factor


class LoadFactor:
    """k of `rate(b) = solo / (1 + k·b)`, by a straight line through 1/rate over the batch size b."""

    __slots__ = ("_at", "_b", "_bb", "_by", "_n", "_y")

    def __init__(self) -> None:
        self._at = 0.0
        self._n = self._b = self._bb = self._y = self._by = 0.0

    def add(self, batch: int, rate: float, now: float) -> None:
        """Take the rate of one stream among `batch` streams."""
        factor = fading(now - self._at)
        self._at = max(self._at, now)
        inverse = 1.0 / rate
        self._n = self._n * factor + 1.0
        self._b = self._b * factor + batch
        self._bb = self._bb * factor + batch * batch
        self._y = self._y * factor + inverse
        self._by = self._by * factor + batch * inverse

    def value(self) -> float | None:
        """The factor; None while the samples are few or all of about one batch size."""
        if self._n < SLOPE_SAMPLES_MIN:
            return None
        spread = self._bb / self._n - (self._b / self._n) ** 2
        if spread < SLOPE_SPREAD_MIN:
            return None
        slope = (self._by / self._n - self._b * self._y / self._n**2) / spread
        at_zero = self._y / self._n - slope * self._b / self._n
        if at_zero <= 0:
            return None
        return min(FACTOR_MAX, max(FACTOR_MIN, slope / at_zero))


class LearnedRates:
    """Solo rates by machine, by class of machines and by model; the load factor by class.

    Invariant: at most `MACHINES_MAX` machines and `CLASSES_MAX` classes, the least recently fed one leaves first.
    """

    def __init__(self) -> None:
        self._machines: OrderedDict[tuple[str, str], DecayedMean] = OrderedDict()
        self._classes: OrderedDict[tuple[str, str], DecayedMean] = OrderedDict()
        self._models: OrderedDict[str, DecayedMean] = OrderedDict()
        self._factors: OrderedDict[tuple[str, str], LoadFactor] = OrderedDict()

    def feed(self, stable_id: str, model: str, chip_class: str, rate: float, *, batch: int, now: float) -> None:
        """Take the rate of one stream (tokens/s) on a machine that runs `batch` of them."""
        kind = (model, chip_class)
        _record(self._factors, kind, LoadFactor, CLASSES_MAX).add(batch, rate, now)
        solo = rate * (1 + self.factor(model, chip_class, DEFAULT_FACTOR) * batch)
        _record(self._machines, (stable_id, model), DecayedMean, MACHINES_MAX).add(solo, now)
        _record(self._classes, kind, DecayedMean, CLASSES_MAX).add(solo, now)
        _record(self._models, model, DecayedMean, CLASSES_MAX).add(solo, now)

    def factor(self, model: str, chip_class: str, configured: float) -> float:
        """The learned load factor, else the configured one."""
        found = self._factors.get((model, chip_class))
        learned = found.value() if found is not None else None
        return configured if learned is None else learned

    def solo(self, stable_id: str, model: str, chip_class: str, *, benchmark: float, now: float) -> float:
        """The machine's own mean, drawn towards its class, else its benchmark, else its model; 0: nothing was learned.

        `benchmark` is the registered rate, 0 without one.
        """
        own = self._machines.get((stable_id, model))
        kind, everywhere = self._classes.get((model, chip_class)), self._models.get(model)
        if kind is not None and kind.weight_at(now) >= CLASS_SAMPLES_MIN:
            prior = kind.mean
        elif benchmark > 0:
            prior = benchmark if own is not None else 0.0
        elif everywhere is not None and everywhere.weight_at(now) >= CLASS_SAMPLES_MIN:
            prior = everywhere.mean
        else:
            prior = own.mean if own is not None else 0.0
        return prior if own is None else shrunk(own.mean, own.weight_at(now), prior)


def _record(records: OrderedDict[_Key, _Record], key: _Key, make: type[_Record], limit: int) -> _Record:
    found = records.get(key)
    if found is None:
        if len(records) >= limit:
            records.popitem(last=False)
        found = records[key] = make()
    else:
        records.move_to_end(key)
    return found


def fading(seconds: float) -> float:
    """The share of a weight that is left after a while."""
    return math.exp2(-seconds / HALF_LIFE) if seconds > 0 else 1.0
