"""The bounds of the listener in one record; every value comes from a setting or is a constant with its reason."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ListenerLimits:
    """Times in seconds, sizes in bytes.

    `head_seconds` bounds the TLS handshake, the wait for a first request and the reading of each head;
    `idle_seconds` the pause between requests; `write_deadline_seconds` the sending of each 16 KiB to a peer;
    `linger_seconds` how long late bytes of a client are thrown away after the last answer, so that a reset does not
    destroy it. `held_bytes` is how much a client may send ahead of a running answer. `max_connections` counts all
    sockets, `max_connections_per_ip` those of one peer address outside the trusted proxies; 0 switches a limit off.
    """

    head_seconds: float = 10.0
    idle_seconds: float = 120.0
    write_deadline_seconds: float = 30.0
    linger_seconds: float = 2.0
    held_bytes: int = 64 * 1024
    max_connections: int = 16_384
    max_connections_per_ip: int = 1_024
