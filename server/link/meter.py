"""What the provider link counts: a closed set of event names behind a two-method interface."""

from __future__ import annotations

from collections import Counter
from typing import Literal, Protocol, TypeAlias

LinkEvent: TypeAlias = Literal[
    "upgrade_refused",
    "socket_refused",
    "registered",
    "register_deadline",
    "registration_rate",
    "second_register",
    "frame_before_register",
    "frame_malformed",
    "frame_type",
    "frame_unknown",
    "frame_invalid",
    "frame_fatal",
    "invalid_flood",
    "unknown_request",
    "stray_chunk",
    "stray_cancel",
    "cancel_sent",
    "cancel_dropped",
    "control_dropped",
    "violation",
    "bad_text",
    "lane_full_control",
    "lane_full_data",
    "lane_full_large",
    "write_deadline_abort",
    "pong_timeout",
    "stale_strike",
    "stale_evicted",
    "challenge_sent",
    "challenge_passed",
    "challenge_failed",
    "challenge_timeout",
    "challenge_unwritten",
    "challenge_unknown_nonce",
    "untrusted",
    "superseded",
    "sink_error",
    "ignored_message",
]


class LinkMeter(Protocol):
    """Where the link counts; the names are closed, so they may become metric labels."""

    def count(self, event: LinkEvent) -> None:
        """Count one event."""

    def wire_time(self, size_bytes: int, seconds: float) -> None:
        """Record how long one frame that did not fit the kernel's buffer was on its way there."""

    def cancel_answered(self, seconds: float) -> None:
        """Record how long after its cancel a provider sent the terminal of a request."""


class CountingMeter:
    """Counts in memory: the default, and what tests read."""

    def __init__(self) -> None:
        """Start at zero."""
        self.events: Counter[str] = Counter()

    def count(self, event: LinkEvent) -> None:
        """Count one event."""
        self.events[event] += 1

    def wire_time(self, size_bytes: int, seconds: float) -> None:
        """Count the frame; its time is of no use in memory."""
        del size_bytes, seconds
        self.events["wire_frames"] += 1

    def cancel_answered(self, seconds: float) -> None:
        """Count the answer; its time is of no use in memory."""
        del seconds
        self.events["cancel_answered"] += 1
