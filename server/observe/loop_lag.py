"""How late the event loop is: a timer that measures its own lateness."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from server.observe.metrics import Metrics

INTERVAL_SECONDS: Final = 0.1


async def measure_loop_lag(metrics: Metrics) -> None:
    """Observe the lateness of a 100 ms timer until cancelled."""
    while True:
        due = trio.current_time() + INTERVAL_SECONDS
        await trio.sleep_until(due)
        metrics.loop_lag_seconds.observe(amount=max(0.0, trio.current_time() - due))
