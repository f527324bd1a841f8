"""The registry's housekeeping loop: evict silent sessions and audit reservations."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from server.registry.registry import Registry

log = logging.getLogger(__name__)

SWEEP_SECONDS: Final = 30.0
AUDIT_EVERY: Final = 2
"""Audits come with every second sweep."""
GOING_AWAY: Final = 1001


async def run_maintenance(registry: Registry) -> None:
    """Sweep every 30 s and audit every 60 s until cancelled.

    An evicted session's connection is closed, so that the provider notices and reconnects; the session itself leaves
    at once, whatever its socket does.
    """
    rounds = 0
    while True:
        await trio.sleep(SWEEP_SECONDS)
        rounds += 1
        now = trio.current_time()
        for session in registry.sweep(now):
            log.warning("session_evicted", extra={"session_id": session.session_id})
            session.channel.abort(GOING_AWAY, "No heartbeat arrived in time; connect again.")
            registry.disconnect(session.session_id, now, graceful=False)
        if rounds % AUDIT_EVERY == 0:
            registry.audit(now)
