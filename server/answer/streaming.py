"""Streamed answers inside quart: a response whose body is written by a function through an AnswerWriter."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from quart.utils import encode_headers
from quart.wrappers.response import DataBody
from quart_trio.asgi import TrioASGIHTTPConnection
from quart_trio.wrappers import TrioResponse

from server.answer.asgi import AsgiWriter
from server.answer.direct import DirectWriter
from server.answer.open_spout import open_spout
from server.answer.writer import AnswerAborted, AnswerWriter, ConsumerGone
from server.listener import TRANSPORT_EXTENSION, AnswerTransport

if TYPE_CHECKING:
    from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPRequestEvent, HTTPResponseStartEvent
    from quart import Request
    from quart.typing import ResponseTypes
    from quart_trio import QuartTrio

_log = logging.getLogger("darkbloom.answer")

Producer: TypeAlias = Callable[[AnswerWriter], Awaitable[None]]

WRITE_DEADLINE_CONFIG: Final = "DARKBLOOM_WRITE_DEADLINE_SECONDS"
BODY_SECONDS_CONFIG: Final = "DARKBLOOM_BODY_SECONDS"
# The slowest upload that is waited for, on top of the fixed time.
MIN_UPLOAD_BYTES_PER_SECOND: Final = 128 * 1024

_NO_CHUNKS: Final = ("Content-Length", "Transfer-Encoding")


class StreamingAnswer(TrioResponse):
    """A response that calls `produce(writer)` in the request's task once its head is on the wire.

    A normal return of `produce` ends the body properly. AnswerAborted breaks the answer off: the consumer's connection
    (on HTTP/2: the stream) is reset. So does any other exception, unless there is a `crash_event`: its bytes are the
    last ones of the answer then, whose dialect alone knows what an error looks like.
    Nothing times the stream out as a whole; each write has its own deadline. A consumer that disconnects, also by
    half-closing, cancels the request's task. `on_end` is called once the answer is over, also if its head could not be
    sent and `produce` was never called; it is synchronous and raises nothing.
    """

    def __init__(
        self,
        produce: Producer,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        on_end: Callable[[], None] | None = None,
        crash_event: Callable[[], bytes] | None = None,
    ) -> None:
        super().__init__(status=status, headers=dict(headers or {}))
        self.produce = produce
        self.on_end = on_end
        self.crash_event = crash_event
        self.timeout = None

    def __repr__(self) -> str:
        return f"<StreamingAnswer {self.status_code}>"


class AnswerConnection(TrioASGIHTTPConnection):
    """quart's side of one request, taught to run streamed answers and to wait longer for larger bodies.

    Where the server pushes the request's body and cancels it when the client leaves, neither needs a task of its own:
    the request runs in the task that called it.
    """

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Serve the request; a client that disconnects cancels it."""
        transport = self._transport()
        if transport is None or transport.source is None:
            await super().__call__(receive, send)
            return
        request = self._create_request_from_scope(send)

        def take(event: HTTPRequestEvent) -> None:
            request.body.append(event["body"])
            if not event["more_body"]:
                request.body.set_complete()

        transport.source.listen(take)
        await self._send_response(send, await self.app.handle_request(request))

    def _transport(self) -> AnswerTransport | None:
        extensions = cast(dict[str, object], self.scope.get("extensions") or {})
        found = extensions.get(TRANSPORT_EXTENSION)
        return found if isinstance(found, AnswerTransport) else None

    def _create_request_from_scope(self, send: ASGISendCallable) -> Request:
        request = super()._create_request_from_scope(send)
        fixed = cast(float | None, self.app.config.get(BODY_SECONDS_CONFIG))
        if fixed is not None:
            length = min(request.content_length or 0, request.max_content_length or 0)
            request.body_timeout = cast(int, fixed + length / MIN_UPLOAD_BYTES_PER_SECOND)
        return request

    async def _send_response(self, send: ASGISendCallable, response: ResponseTypes) -> None:
        if not isinstance(response, StreamingAnswer):
            if isinstance(response.response, DataBody):
                await self._send_whole(send, response, response.response.data)
            else:
                await super()._send_response(send, response)
            return
        try:
            await self._send_streaming(send, response)
        finally:
            if response.on_end is not None:
                response.on_end()

    async def _send_whole(self, send: ASGISendCallable, response: ResponseTypes, body: bytes) -> None:
        """Send an answer that lies in memory as one body event, which leaves in one write with its head."""
        await send(_start_event(response))
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _send_streaming(self, send: ASGISendCallable, response: StreamingAnswer) -> None:
        await send(_start_event(response))
        # The server may hold the head back until a first body event; the writer needs it on the wire.
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await self._stream(send, response)

    async def _stream(self, send: ASGISendCallable, response: StreamingAnswer) -> None:
        transport = self._transport()
        writer = _open_writer(send, response, transport, float(self.app.config.get(WRITE_DEADLINE_CONFIG, 30.0)))
        try:
            try:
                await response.produce(writer)
            except (ConsumerGone, AnswerAborted):
                raise
            except Exception:
                if response.crash_event is None:
                    raise
                _log.exception("a streamed answer crashed")
                await writer.write(response.crash_event())
            await writer.drain()
        except ConsumerGone:
            return
        except AnswerAborted:
            if transport is None:
                raise
            writer.close()  # its spout holds the socket too, and a reset waits for the last holder
            await transport.abort()
            return
        finally:
            writer.close()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _start_event(response: ResponseTypes) -> HTTPResponseStartEvent:
    headers = encode_headers(response.headers)
    return {"type": "http.response.start", "status": response.status_code, "headers": headers}


def install_streaming(app: QuartTrio, *, write_deadline_seconds: float, body_seconds: float) -> None:
    """Teach `app` to run StreamingAnswers, switch quart's answer timeout off and set the time for request bodies."""
    app.asgi_http_class = AnswerConnection
    app.config["RESPONSE_TIMEOUT"] = None
    app.config["BODY_TIMEOUT"] = None
    app.config[WRITE_DEADLINE_CONFIG] = write_deadline_seconds
    app.config[BODY_SECONDS_CONFIG] = body_seconds


def _open_writer(
    send: ASGISendCallable, response: StreamingAnswer, transport: AnswerTransport | None, deadline_seconds: float
) -> DirectWriter | AsgiWriter:
    if transport is None:
        return AsgiWriter(send, abort=_nothing_to_abort, deadline_seconds=deadline_seconds)
    chunked = not any(name in response.headers for name in _NO_CHUNKS)
    if transport.direct and chunked and response.status_code not in (204, 304):
        connection = transport.connection
        return DirectWriter(connection, deadline_seconds=deadline_seconds, spout=open_spout(connection.raw_socket))
    return AsgiWriter(send, abort=transport.abort, deadline_seconds=deadline_seconds)


async def _nothing_to_abort() -> None:
    """Stand in where no connection is under the answer (quart's test client)."""
