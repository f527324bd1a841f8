"""Metrics as text, and who may read them."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric
    from prometheus_client.samples import Sample

TEXT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def render(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """Return (body, content type): OpenMetrics if `accept` asks for it, else the Prometheus text format.

    Families stand in the order of their names, samples in the order of their labels.
    """
    ordered = _Ordered(registry)
    if "application/openmetrics-text" in accept:
        return generate_openmetrics(ordered), OPENMETRICS_TYPE  # type: ignore[no-untyped-call]
    return generate_latest(ordered), TEXT_TYPE


def may_read_metrics(*, authorization: str | None, token: str | None, client_is_loopback: bool) -> bool:
    """Judge a reader: with a token set only its bearer, without one only a client on this machine."""
    if token is None:
        return client_is_loopback
    scheme, _, offered = (authorization or "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(offered.strip().encode(), token.encode())


class _Ordered(CollectorRegistry):
    """A view of a registry in a stable order."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._source = registry

    def collect(self) -> Iterator[Metric]:
        """Yield the families by name, their samples by labels; buckets stay in ascending order."""
        for metric in sorted(self._source.collect(), key=lambda metric: metric.name):
            metric.samples = sorted(
                (sample for sample in metric.samples if not sample.name.endswith("_created")), key=_sample_order
            )
            yield metric


def _sample_order(sample: Sample) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, value) for name, value in sample.labels.items() if name != "le"))
