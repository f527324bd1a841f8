"""Settings of the provider side: trust, and the WebSocket link."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from protocol.settings import (
    boolean,
    choice,
    duration,
    integer,
    setting,
    size,
    words,
)

_MIB: Final = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class ProviderSettings:
    """Durations in seconds, sizes in bytes."""

    # --- trust ---
    min_trust: Literal["none", "self_signed", "hardware"] = setting(
        "MIN_TRUST",
        choice("none", "self_signed", "hardware"),
        default="hardware",
        group="Trust",
        meaning="Lowest trust level of a provider that may serve requests.",
    )
    allow_dev_attestation: bool = setting(
        "ALLOW_DEV_ATTESTATION",
        boolean(),
        default=False,
        group="Trust",
        meaning="Accept software identities that say so; refused in production.",
    )
    accepted_backends: tuple[str, ...] = setting(
        "ACCEPTED_BACKENDS",
        words(),
        default=("mlx-swift", "mlx-python"),
        group="Trust",
        meaning="Engines that providers may run.",
    )
    challenge_interval: float = setting(
        "CHALLENGE_INTERVAL", duration(0.1, 86400), default=300.0, group="Trust", meaning="Time between challenges."
    )
    challenge_timeout: float = setting(
        "CHALLENGE_TIMEOUT",
        duration(0.1, 600),
        default=30.0,
        group="Trust",
        meaning="Time for the answer to a challenge.",
    )
    challenge_max_age: float = setting(
        "CHALLENGE_MAX_AGE",
        duration(0.1, 86400),
        default=960.0,
        group="Trust",
        meaning="Age of the last passed challenge beyond which a provider gets no requests.",
    )
    max_failed_challenges: int = setting(
        "MAX_FAILED_CHALLENGES",
        integer(1, 100),
        default=3,
        group="Trust",
        meaning="Failed challenges in a row that cost a provider its trust.",
    )
    require_status_signature: bool = setting(
        "REQUIRE_STATUS_SIGNATURE",
        boolean(),
        default=True,
        group="Trust",
        meaning="Count a challenge answer without a status signature as a failure.",
    )

    # --- provider link ---
    ws_max_inbound: int = setting(
        "WS_MAX_INBOUND",
        size(65536, 64 * _MIB),
        default=10 * _MIB,
        group="Provider link",
        meaning="Largest message of a provider.",
    )
    ws_register_timeout: float = setting(
        "WS_REGISTER_TIMEOUT",
        duration(0.1, 600),
        default=15.0,
        group="Provider link",
        meaning="Time from the upgrade to `register`.",
    )
    ws_ping: float = setting(
        "WS_PING", duration(0.1, 600), default=20.0, group="Provider link", meaning="Time between pings."
    )
    ws_pong_timeout: float = setting(
        "WS_PONG_TIMEOUT",
        duration(0.1, 600),
        default=40.0,
        group="Provider link",
        meaning="Silence after which a provider is gone.",
    )
    stale_after: float = setting(
        "STALE_AFTER",
        duration(0.1, 3600),
        default=90.0,
        group="Provider link",
        meaning="Age of the last heartbeat beyond which a provider gets no requests.",
    )
    max_sockets_per_ip: int = setting(
        "MAX_SOCKETS_PER_IP",
        integer(1, 1_000_000),
        default=32,
        group="Provider link",
        meaning="Provider sockets of one client address that have not registered yet.",
    )
    max_unregistered_sockets: int = setting(
        "MAX_UNREGISTERED_SOCKETS",
        integer(1, 1_000_000),
        default=1_024,
        group="Provider link",
        meaning="Provider sockets in all that have not registered yet.",
    )
    registrations_per_minute: int = setting(
        "REGISTRATIONS_PER_MINUTE",
        integer(1, 100_000),
        default=12,
        group="Provider link",
        meaning="Registrations of one identity in a minute.",
    )
    writer_control_queue: int = setting(
        "WRITER_CONTROL_QUEUE",
        integer(1, 65536),
        default=64,
        group="Provider link",
        meaning="Control frames that may wait for one provider.",
    )
    writer_data_queue: int = setting(
        "WRITER_DATA_QUEUE",
        integer(1, 65536),
        default=128,
        group="Provider link",
        meaning="Request frames that may wait for one provider.",
    )
    writer_min: float = setting(
        "WRITER_MIN",
        duration(0.1, 600),
        default=5.0,
        group="Provider link",
        meaning="Shortest write deadline of a frame.",
    )
    writer_max: float = setting(
        "WRITER_MAX",
        duration(0.1, 600),
        default=30.0,
        group="Provider link",
        meaning="Longest write deadline of a frame.",
    )
    writer_rate: int = setting(
        "WRITER_RATE",
        size(1024, 2**30),
        default=2 * _MIB,
        group="Provider link",
        meaning="Bytes a second that the write deadline of a frame grants.",
    )
    stray_cancel_every: float = setting(
        "STRAY_CANCEL_EVERY",
        duration(0.1, 600),
        default=10.0,
        group="Provider link",
        meaning="Time between two cancels for chunks of one unknown request.",
    )
    stray_max_ids: int = setting(
        "STRAY_MAX_IDS",
        integer(1, 1_000_000),
        default=4_096,
        group="Provider link",
        meaning="Unknown requests that are remembered for each provider.",
    )
