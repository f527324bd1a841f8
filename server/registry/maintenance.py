"""The registry's housekeeping loop: forget old faults and old holders of prompts, and audit reservations.

Silent sessions are evicted by the provider link, which owns their connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from server.registry.registry import Registry

MAINTENANCE_SECONDS: Final = 60.0


async def run_maintenance(registry: Registry) -> None:
    """Forget idle fault memory and expired holders, and audit the reservations, every 60 s until cancelled."""
    while True:
        await trio.sleep(MAINTENANCE_SECONDS)
        now = trio.current_time()
        registry.faults.sweep(now)
        while registry.holders.sweep(now):
            await trio.lowlevel.checkpoint()
        registry.audit(now)
