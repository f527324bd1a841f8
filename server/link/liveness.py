"""When to ping, when to give a connection up, and when silent heartbeats evict it: pure decisions on times.

A session is stale after 90 s without a heartbeat; a sweep every 30 s gives a strike while it is, and takes all strikes
back when it is not; the second strike in a row evicts. After 20 s without a heartbeat or a pong a ping goes out; 40 s
without either end the connection, which finds a half-open socket long before the staleness limit does. A provider that
sends heartbeats needs no ping to prove that it lives.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.link.settings import LinkSettings


class LivenessAction(Enum):
    """What a tick asks for."""

    PING = auto()
    PONG_TIMEOUT = auto()
    STRIKE = auto()
    EVICT = auto()


class Liveness:
    """Times of one connection, in seconds of trio's clock; `heartbeat_at` and `pong_at` are set from outside."""

    __slots__ = ("_next_ping", "_next_sweep", "_settings", "_strikes", "heartbeat_at", "pong_at")

    def __init__(self, settings: LinkSettings, now: float) -> None:
        """Start counting at `now`."""
        self._settings = settings
        self.heartbeat_at = self.pong_at = now
        self._next_ping = now + settings.ping_seconds
        self._next_sweep = now + settings.sweep_seconds
        self._strikes = 0

    @property
    def due(self) -> float:
        """The next moment at which `tick` has something to decide."""
        return min(self._next_ping, self._next_sweep)

    def registered(self, now: float) -> None:
        """Start the heartbeat clock: an unregistered socket has another deadline and sends none."""
        self.heartbeat_at = now
        self._next_sweep = now + self._settings.sweep_seconds
        self._strikes = 0

    def tick(self, now: float) -> list[LivenessAction]:
        """Decide what is due at `now`, and plan the next decision."""
        actions: list[LivenessAction] = []
        if now >= self._next_ping:
            self._look(max(self.heartbeat_at, self.pong_at), now, actions)
        if now >= self._next_sweep:
            self._next_sweep = now + self._settings.sweep_seconds
            if now - self.heartbeat_at <= self._settings.stale_seconds:
                self._strikes = 0
            else:
                self._strikes += 1
                evict = self._strikes >= self._settings.stale_strikes
                actions.append(LivenessAction.EVICT if evict else LivenessAction.STRIKE)
        return actions

    def _look(self, heard_at: float, now: float, actions: list[LivenessAction]) -> None:
        """Ping after a silence, give up after a long one, and look again when the present one may be long enough."""
        every = self._settings.ping_seconds
        if now - heard_at >= self._settings.pong_timeout_seconds:
            actions.append(LivenessAction.PONG_TIMEOUT)
        elif now - heard_at >= every:
            actions.append(LivenessAction.PING)
        else:
            self._next_ping = heard_at + every
            return
        self._next_ping = now + every
