"""The provider daemon: everything put together, and its start and end."""

from provider.daemon.lock import LockHeld, ProviderLock
from provider.daemon.options import DaemonOptions, DaemonSeams, OfferedModel
from provider.daemon.run import DaemonControl, DaemonRefused, run_daemon

__all__ = [
    "DaemonControl",
    "DaemonOptions",
    "DaemonRefused",
    "DaemonSeams",
    "LockHeld",
    "OfferedModel",
    "ProviderLock",
    "run_daemon",
]
