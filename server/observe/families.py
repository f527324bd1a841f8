"""Building blocks of the metrics: families with closed labels and a bound on their series, gauges read on demand.

Invariant: a label value is either from the family's closed set or counts against its bound of series; beyond either
it becomes `other`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from server.observe.series import Distribution, Number

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

MAX_SERIES: Final = 2000
OTHER: Final = "other"

Vocabulary = Iterable[str] | None
"""The closed set of a label's values; None for sets that are bounded elsewhere (models, routes)."""

GaugeReader = Callable[[], Iterable[tuple[Sequence[str], float]]]

S = TypeVar("S", Number, Distribution)


class _SeriesByValues(dict[tuple[str, ...], S]):
    """Series by label values; `make` answers for values that are not there."""

    def __init__(self, make: Callable[[tuple[str, ...]], S]) -> None:
        self._make: Callable[[tuple[str, ...]], S] = make

    def __missing__(self, values: tuple[str, ...]) -> S:
        return self._make(values)


class _Family(ABC, Generic[S]):
    """The series of one metric; hands out the folded one when a label value or the family is out of bounds."""

    def __init__(
        self,
        name: str,
        meaning: str,
        labels: dict[str, Vocabulary],
        *,
        new: Callable[[], S],
        on_fold: Callable[[], None],
    ) -> None:
        self._name = name
        self._meaning = meaning
        self._labels = list(labels)
        self._vocabularies = [None if values is None else frozenset(values) for values in labels.values()]
        self._new: Callable[[], S] = new
        self._on_fold = on_fold
        self._series: _SeriesByValues[S] = _SeriesByValues(self._new_series)
        if not labels:
            self._series[()] = new()

    def series(self, *values: str) -> S:
        """Return the series of these label values, in the declared order; whoever records often keeps it."""
        return self._series[values]

    def _new_series(self, values: tuple[str, ...]) -> S:
        folded = tuple(
            value if allowed is None or value in allowed else OTHER
            for value, allowed in zip(values, self._vocabularies, strict=True)
        )
        if folded != values:
            self._on_fold()
            return self._series[folded]
        if len(self._series) >= MAX_SERIES:
            self._on_fold()
            values = (OTHER,) * len(values)
            if values in self._series:
                return self._series[values]
        made = self._series[values] = self._new()
        return made

    @abstractmethod
    def collect(self) -> Iterator[Metric]:
        """Give the samples (called by prometheus_client)."""

    @abstractmethod
    def describe(self) -> list[Metric]:
        """Name the family without its samples (called by prometheus_client)."""


class CounterFamily(_Family[Number]):
    """A counter by labels."""

    def inc(self, *values: str, by: float = 1) -> None:
        """Add to the series of these label values, in the declared order."""
        self._series[values].amount += by

    def describe(self) -> list[Metric]:
        """See above."""
        return [CounterMetricFamily(self._name, self._meaning, labels=self._labels)]

    def collect(self) -> Iterator[Metric]:
        """See above."""
        family = CounterMetricFamily(self._name, self._meaning, labels=self._labels)
        for values, number in self._series.items():
            family.add_metric(values, number.amount)
        yield family


class GaugeFamily(_Family[Number]):
    """A gauge by labels."""

    def set(self, *values: str, to: float) -> None:
        """Set the series of these label values."""
        self._series[values].amount = to

    def describe(self) -> list[Metric]:
        """See above."""
        return [GaugeMetricFamily(self._name, self._meaning, labels=self._labels)]

    def collect(self) -> Iterator[Metric]:
        """See above."""
        family = GaugeMetricFamily(self._name, self._meaning, labels=self._labels)
        for values, number in self._series.items():
            family.add_metric(values, number.amount)
        yield family


class HistogramFamily(_Family[Distribution]):
    """A histogram by labels."""

    def observe(self, *values: str, amount: float) -> None:
        """Record one observation; a value equal to a bound counts in its bucket."""
        self._series[values].observe(amount)

    def describe(self) -> list[Metric]:
        """See above."""
        return [HistogramMetricFamily(self._name, self._meaning, labels=self._labels)]

    def collect(self) -> Iterator[Metric]:
        """See above."""
        family = HistogramMetricFamily(self._name, self._meaning, labels=self._labels)
        for values, distribution in self._series.items():
            family.add_metric(values, distribution.buckets(), distribution.total)
        yield family


class Families:
    """Declares families in one registry and renders nothing itself."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._folded = CounterFamily(
            "darkbloom_metrics_series_folded",
            "Label values that became `other`.",
            {"family": None},
            new=Number,
            on_fold=_never_folds,
        )
        self.registry.register(self._folded)

    def counter(self, name: str, meaning: str, **labels: Vocabulary) -> CounterFamily:
        """Declare a counter; its name ends in `_total` in the output."""
        family = CounterFamily(name, meaning, labels, new=Number, on_fold=self._fold(name))
        self.registry.register(family)
        return family

    def number(self, name: str, meaning: str) -> Number:
        """Declare a counter without labels; its one series is there to be added to."""
        return self.counter(name, meaning).series()

    def gauge(self, name: str, meaning: str, **labels: Vocabulary) -> GaugeFamily:
        """Declare a gauge that is set."""
        family = GaugeFamily(name, meaning, labels, new=Number, on_fold=self._fold(name))
        self.registry.register(family)
        return family

    def histogram(self, name: str, meaning: str, buckets: Sequence[float], **labels: Vocabulary) -> HistogramFamily:
        """Declare a histogram with these upper bounds."""
        family = HistogramFamily(name, meaning, labels, new=lambda: Distribution(buckets), on_fold=self._fold(name))
        self.registry.register(family)
        return family

    def reading(self, name: str, meaning: str, labels: Sequence[str], read: GaugeReader) -> None:
        """Declare a gauge whose samples `read` gives whenever somebody looks; at most 2,000 of them count."""
        self.registry.register(_Reading(name, meaning, labels, read))

    def _fold(self, name: str) -> Callable[[], None]:
        return self._folded.series(name).inc


def _never_folds() -> None:
    """Stand in for the count of folded values in the family that is this count: its labels are our own names."""


class _Reading:
    """A collector that asks for its samples."""

    def __init__(self, name: str, meaning: str, labels: Sequence[str], read: GaugeReader) -> None:
        self._name = name
        self._meaning = meaning
        self._labels = list(labels)
        self._read = read

    def describe(self) -> list[Metric]:
        """Name the family without reading it."""
        return [GaugeMetricFamily(self._name, self._meaning, labels=self._labels)]

    def collect(self) -> Iterator[Metric]:
        """Read the samples; those beyond the bound are summed up as `other`."""
        family = GaugeMetricFamily(self._name, self._meaning, labels=self._labels)
        rest = 0.0
        for number, (values, amount) in enumerate(self._read()):
            if number < MAX_SERIES:
                family.add_metric([str(value) for value in values], amount)
            else:
                rest += amount
        if rest:
            family.add_metric([OTHER] * len(self._labels), rest)
        yield family
