"""The provider daemon: everything put together, and its start and end."""

from provider.daemon.control import DaemonControl
from provider.daemon.lock import LockHeld, take_provider_lock
from provider.daemon.options import DaemonOptions, DaemonSeams, OfferedModel
from provider.daemon.run import run_daemon
from provider.daemon.start import DaemonRefused

__all__ = [
    "DaemonControl",
    "DaemonOptions",
    "DaemonRefused",
    "DaemonSeams",
    "LockHeld",
    "OfferedModel",
    "run_daemon",
    "take_provider_lock",
]
