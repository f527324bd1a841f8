"""The clock that all components of one run share."""

from __future__ import annotations

from collections.abc import Callable

import trio


def run_clock() -> Callable[[], float]:
    """Return the clock of this run of trio: the time of `trio.current_time`, which looks for the run at every call."""
    return trio.lowlevel.current_clock().current_time
