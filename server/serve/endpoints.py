"""Calls the inference endpoints as plain ASGI; every other path goes on to quart.

A call runs in the task that the server made for the request, and is cancelled when the client hangs up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, cast

import trio

from protocol.api.errors import ApiError, invalid_request
from server.answer import AnswerConnection, StreamingAnswer
from server.api.call import Call, CallHeaders, WholeAnswer, wire_name
from server.listener import TRANSPORT_EXTENSION, AnswerTransport
from server.observe import request_notes
from server.sealed import is_sealed_type
from server.serve.json_error import send_error
from server.serve.request_body import RequestBody

if TYPE_CHECKING:
    from hypercorn.typing import ASGISendCallable, HTTPScope
    from quart_trio import QuartTrio

    from server.api import Endpoint
    from server.serve.asgi_types import AsgiApp, Receive, Scope, Send

_ALLOWED: Final = ("OPTIONS", "POST")


class Endpoints:
    """Serves `routes` (by path); `app` is quart, `inner` its ASGI face for all other paths.

    A body may have `max_bytes`, a sealed one `max_sealed_bytes`, which it has by default too.
    """

    def __init__(
        self,
        app: QuartTrio,
        inner: AsgiApp,
        routes: Mapping[str, Endpoint],
        *,
        max_bytes: int,
        body_seconds: float,
        max_sealed_bytes: int | None = None,
    ) -> None:
        self._app = app
        self._inner = inner
        self._routes = routes
        self._max_bytes = max_bytes
        self._max_sealed_bytes = max_bytes if max_sealed_bytes is None else max_sealed_bytes
        self._body_seconds = body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        endpoint = self._routes.get(scope["path"]) if scope["type"] == "http" else None
        if endpoint is None:
            await self._inner(scope, receive, send)
            return
        request_notes().route = scope["path"]
        if scope["method"] != "POST":
            await _refuse_method(scope, send)
            return
        headers = CallHeaders(scope["headers"])
        sealed = is_sealed_type(headers.get("content-type"))
        body = RequestBody(
            announced_bytes=_announced(headers),
            limit_bytes=self._max_sealed_bytes if sealed else self._max_bytes,
            seconds=self._body_seconds,
            encoding=headers.get("content-encoding"),
        )
        client = scope.get("client")
        call = Call(
            headers,
            scope["query_string"],
            body.read,
            scheme=scope["scheme"],
            client_ip=client[0] if client else "",
            sealed=sealed,
        )
        transport = _transport(scope)
        if transport is not None and transport.source is not None:
            transport.source.listen(body.take)
            await self._answer(endpoint, call, scope, send)
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_pull, receive, body, nursery.cancel_scope)
            await self._answer(endpoint, call, scope, send)
            nursery.cancel_scope.cancel()

    async def _answer(self, endpoint: Endpoint, call: Call, scope: Scope, send: Send) -> None:
        try:
            answer = await endpoint(call)
        except ApiError as error:
            await send_error(send, scope["path"], error)
            return
        if isinstance(answer, WholeAnswer):
            await _send_whole(send, answer)
        else:
            await _StreamConnection(self._app, cast("HTTPScope", scope)).stream(cast("ASGISendCallable", send), answer)


class _StreamConnection(AnswerConnection):
    """Runs streamed answers as for quart's own requests."""

    async def stream(self, send: ASGISendCallable, answer: StreamingAnswer) -> None:
        """Send head and body; see StreamingAnswer."""
        await self._send_response(send, answer)


async def _send_whole(send: Send, answer: WholeAnswer) -> None:
    headers = [(b"content-type", answer.content_type.encode("latin-1")), (b"content-length", b"%d" % len(answer.body))]
    headers += [(wire_name(name), value.encode("latin-1")) for name, value in answer.headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})


async def _refuse_method(scope: Scope, send: Send) -> None:
    """Answer OPTIONS with what there is, and every other method with 405."""
    allow = ", ".join(_ALLOWED)
    if scope["method"] == "OPTIONS":
        headers = [(b"allow", allow.encode()), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return
    error = invalid_request(f"{scope['method']} {scope['path']} is not allowed; use {allow}.", status=405)
    error.allow = _ALLOWED
    await send_error(send, scope["path"], error)


async def _pull(receive: Receive, body: RequestBody, answering: trio.CancelScope) -> None:
    """Ask a server that does not push for the body, and for the disconnect, which ends the answer."""
    while (event := await receive())["type"] == "http.request":
        body.take(event)
    answering.cancel()


def _announced(headers: CallHeaders) -> int:
    """The length that the client announced; 0 for a chunked body or one that cannot be read as a number."""
    text = headers.get("content-length")
    return int(text[:19]) if text.isascii() and text.isdigit() else 0


def _transport(scope: Scope) -> AnswerTransport | None:
    found = (scope.get("extensions") or {}).get(TRANSPORT_EXTENSION)
    return found if isinstance(found, AnswerTransport) else None
