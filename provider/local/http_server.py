"""HTTP/1.1 for programs on this machine: h11 over a trio stream, bounded everywhere, answers whole or streamed.

Invariant: one request of a connection at a time; a client that hangs up cancels its handler.
Owner: each connection is one task of the server's nursery.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import unquote, urlsplit

import h11
import trio

from provider.observe.place import last_place

log = logging.getLogger(__name__)

HEAD_SECONDS: Final = 10.0
IDLE_SECONDS: Final = 120.0
BODY_SECONDS: Final = 60.0
WRITE_SECONDS: Final = 30.0
LINGER_SECONDS: Final = 1.0
LINGER_BYTES: Final = 4 * 1024 * 1024
MAX_HEAD_BYTES: Final = 64 * 1024
READ_BYTES: Final = 64 * 1024
MAX_AHEAD_BYTES: Final = 64 * 1024
"""Bytes of a next request that may arrive during an answer."""

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Request:
    """`path` is decoded and without query; header names are lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Whole:
    """An answer in one piece."""

    status: int
    body: bytes = field(default=b"", repr=False)
    headers: Headers = ()


Send = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Streamed:
    """An answer in pieces: `produce` sends them; raising ends the body without its end mark."""

    produce: Callable[[Send], Awaitable[None]]
    headers: Headers = ()
    status: int = 200


class BodyTooLarge(Exception):
    """The client sends more than it may."""


class ClientGone(Exception):
    """The connection ended, or takes no bytes any more."""


Handler = Callable[[Request], Awaitable[Whole | Streamed]]
Admit = Callable[[Request], Whole | None]
"""Looks at a request before its body is read; gives the refusal of one that is not let in."""

OnFault = Callable[[str, Exception], Whole]
"""Gives the answer for a path when its body is too large (`BodyTooLarge`), or its handler crashed."""


def admit_all(_request: Request) -> Whole | None:
    """Let everybody in."""
    return None


async def serve_connection(
    stream: trio.abc.Stream, handler: Handler, on_fault: OnFault, *, max_body: int, admit: Admit = admit_all
) -> None:
    """Serve one connection to its end; only cancellation raises."""
    connection = _Connection(stream, handler, on_fault, admit, max_body)
    try:
        while await connection.serve_next():
            pass
    except (ClientGone, trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
        pass
    finally:
        with trio.move_on_after(1) as grace:
            grace.shield = True
            await trio.aclose_forcefully(stream)


class _Connection:
    def __init__(
        self, stream: trio.abc.Stream, handler: Handler, on_fault: OnFault, admit: Admit, max_body: int
    ) -> None:
        self._stream = stream
        self._handler = handler
        self._on_fault = on_fault
        self._admit = admit
        self._max_body = max_body
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._head_due: h11.Response | None = None

    async def serve_next(self) -> bool:
        """Serve one request; False when the connection is over."""
        head = await self._head()
        if head is None:
            return False
        path = unquote(urlsplit(head.target.decode("latin-1")).path)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
        request = Request(head.method.decode("latin-1"), path, headers, b"")
        refusal = self._admit(request)
        if refusal is not None:
            return await self._turn_away(refusal)
        try:
            body = await self._body(head)
        except BodyTooLarge as error:
            return await self._turn_away(self._on_fault(path, error))
        await self._answer(replace(request, body=body))
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    async def _turn_away(self, answer: Whole) -> bool:
        """Answer and end; what the client still sends is thrown away for a moment, lest a reset eats the answer."""
        await self._send_whole(answer, close=True)
        if isinstance(self._stream, trio.abc.HalfCloseableStream):
            await self._stream.send_eof()
        left = LINGER_BYTES
        with trio.move_on_after(LINGER_SECONDS):
            while left > 0 and (data := await self._stream.receive_some(READ_BYTES)):
                left -= len(data)
        return False

    async def _head(self) -> h11.Request | None:
        started = self._http.trailing_data[0] != b""
        with trio.move_on_after(HEAD_SECONDS if started else IDLE_SECONDS):
            while True:
                event = self._http.next_event()
                if isinstance(event, h11.Request):
                    return event
                if isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
                    return None
                await self._receive()
        return None

    async def _body(self, head: h11.Request) -> bytes:
        if self._http.they_are_waiting_for_100_continue:
            await self._write(self._http.send(h11.InformationalResponse(status_code=100, headers=[])))
        body = bytearray()
        with trio.move_on_after(BODY_SECONDS):
            while True:
                event = self._http.next_event()
                if isinstance(event, h11.Data):
                    body += event.data
                    if len(body) > self._max_body:
                        raise BodyTooLarge
                elif isinstance(event, h11.EndOfMessage):
                    return bytes(body)
                elif event is h11.NEED_DATA:
                    await self._receive()
                else:
                    raise ClientGone
        raise ClientGone

    async def _receive(self) -> None:
        self._http.receive_data(bytes(await self._stream.receive_some(READ_BYTES)))

    async def _answer(self, request: Request) -> None:
        """Run the handler while the connection is watched: a client that leaves cancels it."""
        is_gone = False
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                nonlocal is_gone
                ahead = 0
                while ahead <= MAX_AHEAD_BYTES:
                    try:
                        data = bytes(await self._stream.receive_some(READ_BYTES))
                    except (trio.BrokenResourceError, trio.ClosedResourceError):
                        data = b""
                    self._http.receive_data(data)
                    if not data:
                        is_gone = True
                        nursery.cancel_scope.cancel()
                        return
                    ahead += len(data)

            nursery.start_soon(watch)
            try:
                await self._run(request)
            except (ClientGone, trio.BrokenResourceError, trio.ClosedResourceError):
                is_gone = True
            nursery.cancel_scope.cancel()
        if is_gone:
            raise ClientGone

    async def _run(self, request: Request) -> None:
        try:
            answer = await self._handler(request)
        except Exception as error:
            log.error("local request failed", extra={"fault": type(error).__name__, "place": last_place(error)})
            answer = self._on_fault(request.path, error)
        if isinstance(answer, Whole):
            await self._send_whole(answer, without_body=request.method == "HEAD")
            return
        # From the handler's return to here there is no checkpoint: whatever the answer holds is let go by `produce`.
        self._head_due = h11.Response(
            status_code=answer.status, headers=[*_encoded(answer.headers), (b"Cache-Control", b"no-cache")]
        )
        try:
            await answer.produce(self._send_piece)
        except (ClientGone, trio.BrokenResourceError, trio.ClosedResourceError):
            raise
        except Exception as error:
            log.error("local answer failed", extra={"fault": type(error).__name__, "place": last_place(error)})
            raise ClientGone from None
        await self._write(self._due_head() + (self._http.send(h11.EndOfMessage()) or b""))

    async def _send_piece(self, data: bytes) -> None:
        if data:
            await self._write(self._due_head() + (self._http.send(h11.Data(data=data)) or b""))

    def _due_head(self) -> bytes:
        """The head of a streamed answer, once, with what follows first."""
        head, self._head_due = self._head_due, None
        return b"" if head is None else self._http.send(head) or b""

    async def _send_whole(self, answer: Whole, *, close: bool = False, without_body: bool = False) -> None:
        headers = [*_encoded(answer.headers), (b"Content-Length", str(len(answer.body)).encode())]
        if close:
            headers.append((b"Connection", b"close"))
        parts = [self._http.send(h11.Response(status_code=answer.status, headers=headers))]
        if answer.body and not without_body:
            parts.append(self._http.send(h11.Data(data=answer.body)))
        parts.append(self._http.send(h11.EndOfMessage()))
        await self._write(b"".join(part for part in parts if part))

    async def _write(self, data: bytes | None) -> None:
        with trio.move_on_after(WRITE_SECONDS):
            await self._stream.send_all(data or b"")
            return
        raise ClientGone


def _encoded(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
