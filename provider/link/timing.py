"""All times of a connection in one frozen record."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkTiming:
    """Seconds. `event_window` is the least distance of two heartbeats that changes cause."""

    connect: float = 30.0
    handshake: float = 30.0
    heartbeat: float = 5.0
    event_window: float = 0.5
    ping: float = 10.0
    pong: float = 30.0
    suspended: float = 30.0
    drain_ack: float = 10.0
    close: float = 2.0
