"""The body of one request, collected as it comes: at most so many bytes, in at most so much time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from protocol.api.errors import ApiError, invalid_request, payload_too_large

if TYPE_CHECKING:
    from server.serve.asgi_types import Event

# The slowest upload that is waited for, on top of the fixed time.
MIN_UPLOAD_BYTES_PER_SECOND: Final = 128 * 1024


class RequestBody:
    """Give it the events of a request with `take`; `read` waits for the whole body.

    `encoding` is the content coding (RFC 9110, section 8.4) that the client names: only a body without one is read.
    """

    def __init__(self, *, announced_bytes: int, limit_bytes: int, seconds: float, encoding: str = "") -> None:
        self._encoding = encoding
        self._limit_bytes = limit_bytes
        self._seconds = seconds + min(announced_bytes, limit_bytes) / MIN_UPLOAD_BYTES_PER_SECOND
        self._data = bytearray()
        self._too_large = announced_bytes > limit_bytes
        self._complete = False
        self._done: trio.Event | None = None

    def take(self, event: Event) -> None:
        """Take one `http.request` event; what passes the limit is dropped."""
        if not self._too_large:
            self._data += event.get("body", b"")
            self._too_large = len(self._data) > self._limit_bytes
        self._complete = not event.get("more_body", False)
        if self._done is not None and (self._complete or self._too_large):
            self._done.set()

    async def read(self) -> bytes:
        """Return the body and forget it; waits only for what is not there yet.

        Raises ApiError: 415 for a content coding, 413 above the limit, both without reading on, and 408 for a body that
        does not come in time.
        """
        if self._encoding and self._encoding.strip().lower() != "identity":
            raise _encoded(self._encoding)
        if not (self._complete or self._too_large):
            self._done = trio.Event()
            with trio.move_on_after(self._seconds) as scope:
                await self._done.wait()
            if scope.cancelled_caught:
                raise body_too_slow()
        if self._too_large:
            raise payload_too_large(self._limit_bytes)
        data = bytes(self._data)
        self._data.clear()
        return data


def _encoded(encoding: str) -> ApiError:
    text = f"Bodies with the Content-Encoding {encoding[:32]!r} are not read; send the JSON as it is."
    return invalid_request(text, code="unsupported_content_encoding", status=415)


def body_too_slow() -> ApiError:
    """408 for a body that stalls."""
    return ApiError(408, "request_timeout", "The request body did not arrive in time; send it without pauses.")
