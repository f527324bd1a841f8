"""The numbers of the provider link in one frozen record; the coordinator's settings build it."""

from __future__ import annotations

from dataclasses import dataclass, field

from server.link.writer import WriterLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSettings:
    """Limits and intervals; times in seconds, sizes in bytes."""

    max_message_bytes: int = 10 * 1024 * 1024
    register_seconds: float = 15.0
    ping_seconds: float = 20.0
    pong_timeout_seconds: float = 40.0
    stale_seconds: float = 90.0
    sweep_seconds: float = 30.0
    stale_strikes: int = 2
    close_seconds: float = 1.0
    """How long a closing connection may take to exchange close frames before it is cut."""
    unregistered_per_ip: int = 32
    unregistered_total: int = 1_024
    registrations_per_minute: int = 12
    """Per identity: the device's signing key once it is proven, else the account, else the client address."""
    invalid_frames: int = 100
    invalid_window_seconds: float = 60.0
    stray_cancel_seconds: float = 10.0
    stray_ids: int = 4_096
    writer: WriterLimits = field(default_factory=WriterLimits)
