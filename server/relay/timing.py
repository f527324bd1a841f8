"""Where the time of a request went: one record per attempt, disjoint segments, the `X-Timing` header.

Invariant: stamps are written once, and every segment starts where the one before it ended.
"""

from __future__ import annotations

import msgspec


class RequestStamps(msgspec.Struct, kw_only=True):
    """Moments before the first attempt, in seconds of trio's clock, and how long remote media took (None: no media).

    `reserved` and `media_seconds` are set on the way, before the first attempt begins.
    """

    received: float
    parsed: float
    reserved: float
    media_seconds: float | None = None


class AttemptTiming:
    """Stamps of one attempt, in seconds of trio's clock; a stamp that was not reached equals the one before it."""

    __slots__ = (
        "_final",
        "_request",
        "content_at",
        "queued_seconds",
        "sealed_at",
        "selected_at",
        "sent_at",
        "started_at",
    )

    def __init__(self, request: RequestStamps, started_at: float) -> None:
        self._request = request
        self.started_at = started_at
        self.queued_seconds = 0.0
        self.selected_at: float | None = None
        self.sealed_at: float | None = None
        self.sent_at: float | None = None
        self.content_at: float | None = None
        self._final: dict[str, int] | None = None

    def selected(self, now: float, *, queued_seconds: float) -> None:
        """A provider was reserved, after `queued_seconds` in the queue."""
        self.selected_at = now
        self.queued_seconds = queued_seconds

    def sealed(self, now: float) -> None:
        """The body was sealed for it."""
        self.sealed_at = now

    def sent(self, now: float) -> None:
        """The kernel has the whole frame, or the provider answered it already; the first call counts."""
        if self.sent_at is None:
            self.sent_at = now

    def content(self, now: float) -> None:
        """The first content arrived; the first call counts."""
        self.sent(now)
        if self.content_at is None:
            self.content_at = now

    def segments(self) -> dict[str, int]:
        """Microseconds by segment, and their sum as `total_us`; settled once content came."""
        if self._final is not None:
            return dict(self._final)
        segments = self._measured()
        if self.content_at is not None:
            self._final = segments
        return dict(segments)

    def _measured(self) -> dict[str, int]:
        request = self._request
        selected = self.selected_at if self.selected_at is not None else self.started_at
        sealed = self.sealed_at if self.sealed_at is not None else selected
        sent = self.sent_at if self.sent_at is not None else sealed
        content = self.content_at if self.content_at is not None else sent
        segments = {
            "parse_us": _micros(request.parsed - request.received),
            "reserve_us": _micros(request.reserved - request.parsed),
            **_media(request),
            "route_us": _micros(selected - self.started_at - self.queued_seconds),
            "queue_us": _micros(self.queued_seconds),
            "encrypt_us": _micros(sealed - selected),
            "dispatch_us": _micros(sent - sealed),
            "provider_us": _micros(content - sent),
        }
        segments["total_us"] = sum(segments.values())
        return segments

    def header(self) -> str:
        """The value of `X-Timing`: compact JSON."""
        return msgspec.json.encode(self.segments()).decode()


def _media(request: RequestStamps) -> dict[str, int]:
    return {} if request.media_seconds is None else {"media_fetch_us": _micros(request.media_seconds)}


def _micros(seconds: float) -> int:
    return max(0, int(seconds * 1_000_000))
