"""Building blocks of the metrics: families with closed labels and a bound on their series, gauges read on demand.

Invariant: a label value is either from the family's closed set or counts against its bound of series; beyond either
it becomes `other`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

MAX_SERIES: Final = 2000
OTHER: Final = "other"

Vocabulary = Iterable[str] | None
"""The closed set of a label's values; None for sets that are bounded elsewhere (models, routes)."""

GaugeReader = Callable[[], Iterable[tuple[Sequence[str], float]]]


class _Labelled(Protocol):
    def labels(self, *values: str) -> object: ...


M = TypeVar("M", Counter, Gauge, Histogram)


class _Family:
    """Keeps the children of one metric; hands out the folded one when a value or the family is out of bounds."""

    def __init__(self, metric: _Labelled, labels: dict[str, Vocabulary], on_fold: Callable[[], None]) -> None:
        self._metric = metric
        self._vocabularies = [None if values is None else frozenset(values) for values in labels.values()]
        self._children: dict[tuple[str, ...], object] = {}
        self._on_fold = on_fold

    def child(self, values: tuple[str, ...]) -> object:
        found = self._children.get(values)
        if found is not None:
            return found
        return self._new_child(values)

    def _new_child(self, values: tuple[str, ...]) -> object:
        folded = tuple(
            value if allowed is None or value in allowed else OTHER
            for value, allowed in zip(values, self._vocabularies, strict=True)
        )
        if folded != values:
            self._on_fold()
            return self.child(folded)
        if len(self._children) >= MAX_SERIES:
            self._on_fold()
            values = (OTHER,) * len(values)
            if values in self._children:
                return self._children[values]
        made = self._metric.labels(*values) if values else self._metric
        self._children[values] = made
        return made


class CounterFamily(_Family):
    """A counter by labels."""

    def inc(self, *values: str, by: float = 1) -> None:
        """Add to the series of these label values, in the declared order."""
        cast(Counter, self.child(values)).inc(by)


class GaugeFamily(_Family):
    """A gauge by labels."""

    def set(self, *values: str, to: float) -> None:
        """Set the series of these label values."""
        cast(Gauge, self.child(values)).set(to)


class HistogramFamily(_Family):
    """A histogram by labels."""

    def observe(self, *values: str, amount: float) -> None:
        """Record one observation; a value equal to a bound counts in its bucket."""
        cast(Histogram, self.child(values)).observe(amount)


class Families:
    """Declares families in one registry and renders nothing itself."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._folded = Counter(
            "darkbloom_metrics_series_folded", "Label values that became `other`.", ["family"], registry=self.registry
        )

    def counter(self, name: str, meaning: str, **labels: Vocabulary) -> CounterFamily:
        """Declare a counter; its name ends in `_total` in the output."""
        return CounterFamily(Counter(name, meaning, list(labels), registry=self.registry), labels, self._fold(name))

    def gauge(self, name: str, meaning: str, **labels: Vocabulary) -> GaugeFamily:
        """Declare a gauge that is set."""
        return GaugeFamily(Gauge(name, meaning, list(labels), registry=self.registry), labels, self._fold(name))

    def histogram(self, name: str, meaning: str, buckets: Sequence[float], **labels: Vocabulary) -> HistogramFamily:
        """Declare a histogram with these upper bounds."""
        metric = Histogram(name, meaning, list(labels), buckets=buckets, registry=self.registry)
        return HistogramFamily(metric, labels, self._fold(name))

    def reading(self, name: str, meaning: str, labels: Sequence[str], read: GaugeReader) -> None:
        """Declare a gauge whose samples `read` gives whenever somebody looks; at most 2,000 of them count."""
        self.registry.register(_Reading(name, meaning, labels, read))

    def _fold(self, name: str) -> Callable[[], None]:
        return self._folded.labels(name).inc


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
