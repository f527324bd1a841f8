"""Facts about this machine: hardware, and how loaded it is."""

from provider.host.machine import Host, detect_host
from provider.host.metrics import MetricsSampler

__all__ = ["Host", "MetricsSampler", "detect_host"]
