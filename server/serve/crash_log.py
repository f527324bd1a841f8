"""What escaped a connection or the application: logged as type and place, and counted."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.observe import Metrics

_log = logging.getLogger("darkbloom.listener")


class CrashLog:
    """The listener's crash observer."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def __call__(self, error: BaseException) -> None:
        """Log and count one crash."""
        _log.error("a connection crashed", exc_info=error)
        self._metrics.connection_crashes.inc()
