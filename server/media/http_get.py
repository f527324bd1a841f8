"""One GET over a fresh connection: head and body bounded, no compression, nothing kept (RFC 9112)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import h11
import trio

from server.media.refusals import failed, too_large

if TYPE_CHECKING:
    from server.media.url import MediaUrl

MAX_HEAD_BYTES: Final = 16 * 1024
READ_BYTES: Final = 64 * 1024
MAX_INTERIM_ANSWERS: Final = 8
"""Answers 1xx before the real one (RFC 9110, section 15.2)."""
MAX_TINY_PIECES: Final = 1024
MIN_PIECE_BYTES: Final = 128
"""A body in smaller pieces than these, on average, is given up: each piece costs as much as a long one."""

_AGENT: Final = b"darkbloom-media/1"


class Got(NamedTuple):
    """The answer: `location` is set for a redirect, `body` for a success."""

    location: str | None
    body: bytes


async def http_get(stream: trio.abc.Stream, url: MediaUrl, *, limit_bytes: int) -> Got:
    """Ask once and read the answer; raises ApiError 413 above the limit, 502 for anything else than a file.

    The stream is not closed here.
    """
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
    headers = [
        (b"host", url.authority.encode()),
        (b"user-agent", _AGENT),
        (b"accept", b"image/*, video/*"),
        (b"accept-encoding", b"identity"),
        (b"connection", b"close"),
    ]
    try:
        head = connection.send(h11.Request(method=b"GET", target=url.target.encode(), headers=headers))
        end = connection.send(h11.EndOfMessage())
        await stream.send_all((head or b"") + (end or b""))
        answer = await _next(connection, stream)
        for _ in range(MAX_INTERIM_ANSWERS):
            if not isinstance(answer, h11.InformationalResponse):
                break
            answer = await _next(connection, stream)
        if not isinstance(answer, h11.Response):
            raise failed()
        found = {bytes(name): bytes(value) for name, value in answer.headers}
        if answer.status_code in (301, 302, 303, 307, 308) and b"location" in found:
            return Got(found[b"location"].decode("latin-1"), b"")
        if answer.status_code != 200 or found.get(b"content-encoding", b"identity").lower() != b"identity":
            raise failed()
        return Got(None, await _body(connection, stream, found, limit_bytes))
    except (h11.ProtocolError, trio.BrokenResourceError, trio.ClosedResourceError, OSError):
        raise failed() from None


async def _body(
    connection: h11.Connection, stream: trio.abc.Stream, headers: dict[bytes, bytes], limit_bytes: int
) -> bytes:
    announced = headers.get(b"content-length", b"")
    if announced.isdigit() and int(announced[:19]) > limit_bytes:
        raise too_large()
    body = bytearray()
    pieces = 0
    while pieces <= MAX_TINY_PIECES + len(body) // MIN_PIECE_BYTES:
        pieces += 1
        event = await _next(connection, stream)
        if isinstance(event, h11.Data):
            body += event.data
            if len(body) > limit_bytes:
                raise too_large()
        elif isinstance(event, h11.EndOfMessage):
            return bytes(body)
        else:
            break
    raise failed()


async def _next(connection: h11.Connection, stream: trio.abc.Stream) -> object:
    while True:
        event = connection.next_event()
        if event is not h11.NEED_DATA:
            return event
        connection.receive_data(bytes(await stream.receive_some(READ_BYTES)))
