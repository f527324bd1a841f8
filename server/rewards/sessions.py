"""Writes down when machines were connected: the link tells, one task writes.

Invariant: the link never waits; what is not yet written is bounded by the number of connections, plus a bounded number
of ended ones. While the database is away everything is kept and written later, except the oldest ended sessions above
the bound: their rows stay open and end by what was last heard of them.
Owner: the one task in `run`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

import trio

from server.rewards.session_rows import BATCH, SessionRow, close_lost, store_sessions
from server.store.errors import StoreUnavailable

if TYPE_CHECKING:
    from server.store import Store

_log = logging.getLogger("darkbloom.rewards")

FLUSH_SECONDS: Final = 15.0
MAX_ENDED: Final = 10_000
LOST_AFTER_US: Final = 300_000_000
"""Another coordinator's session that was silent for so long is lost; living ones are written every 15 seconds."""


class SessionLog(Protocol):
    """What the provider link tells about its connections; synchronous, never blocks, never raises."""

    def opened(self, session_id: str, *, provider_key: str, account_id: str = "", serial_hash: str = "") -> None:
        """A machine has registered, or registered anew under other facts."""

    def seen(self, session_id: str) -> None:
        """A machine was heard of: a heartbeat, a challenge, an answer."""

    def closed(self, session_id: str, reason: str = "") -> None:
        """The connection is over; `reason` is from a closed set."""


class SessionRecorder:
    """The SessionLog over the store; one per coordinator. `wall_clock` gives microseconds since the epoch."""

    def __init__(self, store: Store, *, wall_clock: Callable[[], int], flush_seconds: float = FLUSH_SECONDS) -> None:
        self._store = store
        self._wall_clock = wall_clock
        self._flush_seconds = flush_seconds
        self._open: dict[str, SessionRow] = {}
        self._changed: set[str] = set()
        self._ended: dict[str, SessionRow] = {}
        self.dropped = 0
        """Ended sessions whose end was never written."""

    def opened(self, session_id: str, *, provider_key: str, account_id: str = "", serial_hash: str = "") -> None:
        """See SessionLog."""
        now = self._wall_clock()
        before = self._open.get(session_id)
        self._open[session_id] = SessionRow(
            session_id=session_id,
            provider_key=provider_key,
            account_id=account_id,
            serial_hash=serial_hash,
            connected_at=now if before is None else before.connected_at,
            last_seen=now,
        )
        self._changed.add(session_id)

    def seen(self, session_id: str) -> None:
        """See SessionLog."""
        row = self._open.get(session_id)
        if row is not None:
            self._open[session_id] = replace(row, last_seen=self._wall_clock())
            self._changed.add(session_id)

    def closed(self, session_id: str, reason: str = "") -> None:
        """See SessionLog."""
        row = self._open.pop(session_id, None)
        if row is None:
            return
        now = self._wall_clock()
        self._changed.discard(session_id)
        self._ended[session_id] = replace(row, last_seen=now, disconnected_at=now, reason=reason)
        if len(self._ended) > MAX_ENDED:
            del self._ended[next(iter(self._ended))]
            self.dropped += 1

    async def clean_up(self) -> int:
        """Close what a process before this one left open; call it at start. Returns how many.

        On SQLite every open row is such a one, because one process alone has the file; on PostgreSQL only silent ones.
        """
        now = self._wall_clock()
        silent_since = now + 1 if self._store.kind == "sqlite" else now - LOST_AFTER_US
        return await self._store.write(lambda tx: close_lost(tx, now, silent_since=silent_since))

    async def run(self) -> None:
        """Write every 15 seconds until cancelled, and once more then; close lost sessions of others."""
        try:
            while True:
                await trio.sleep(self._flush_seconds)
                try:
                    await self.flush()
                    if self._store.kind != "sqlite":
                        await self.clean_up()
                except StoreUnavailable:
                    _log.warning("sessions_not_written", extra={"waiting": len(self._changed) + len(self._ended)})
        finally:
            with trio.move_on_after(2, shield=True):
                try:
                    await self.flush()
                except StoreUnavailable:
                    _log.warning("sessions_not_written", extra={"waiting": len(self._changed) + len(self._ended)})

    async def flush(self) -> None:
        """Write what changed, in batches; raises StoreUnavailable and keeps what was not written."""
        while self._ended or self._changed:
            ended = list(self._ended.values())[:BATCH]
            changed = [self._open[one] for one in sorted(self._changed)[: BATCH - len(ended)]]
            batch = [*ended, *changed]
            await self._store.write(lambda tx, rows=batch: store_sessions(tx, rows))  # type: ignore[misc]
            for row in ended:
                self._ended.pop(row.session_id, None)
            for row in changed:
                # Something may have happened to it while it was written.
                if self._open.get(row.session_id) is row:
                    self._changed.discard(row.session_id)
