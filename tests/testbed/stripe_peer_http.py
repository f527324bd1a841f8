"""The Stripe peer on a loopback port, behind an in-memory transport, and as a sender of webhooks."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import h11
import httpx
import trio

from tests.testbed.stripe_peer import Json, Reply, StripePeer
from tests.testbed.stripe_peer_faults import ConnectionCut


class PeerTransport(httpx.AsyncBaseTransport):
    """Answers httpx from a peer in the same process, without sockets."""

    def __init__(self, peer: StripePeer) -> None:
        self._peer = peer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request; a cut connection is httpx's own error."""
        await trio.lowlevel.checkpoint()
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            reply = await self._peer.handle(request.method, request.url.path, headers, await request.aread())
        except ConnectionCut:
            raise httpx.ReadError("the connection was cut", request=request) from None
        return httpx.Response(reply.status, json=reply.body, headers={"Request-Id": "req_peer"})


@asynccontextmanager
async def serve_peer(peer: StripePeer) -> AsyncGenerator[str, None]:
    """Serve a peer on a free loopback port; yields its address."""
    async with trio.open_nursery() as nursery:
        listeners: list[trio.SocketListener] = await nursery.start(
            partial(trio.serve_tcp, partial(_connection, peer), 0, host="127.0.0.1")
        )
        port = listeners[0].socket.getsockname()[1]
        yield f"http://127.0.0.1:{port}"
        nursery.cancel_scope.cancel()


async def _connection(peer: StripePeer, stream: trio.SocketStream) -> None:
    """Serve requests until the client leaves or a fault cuts the connection."""
    server = h11.Connection(h11.SERVER)
    try:
        while True:
            request = await _next(server, stream)
            if not isinstance(request, h11.Request):
                return
            body = b""
            while isinstance(part := await _next(server, stream), h11.Data):
                body += bytes(part.data)
            headers = {name.decode().lower(): value.decode() for name, value in request.headers}
            reply = await peer.handle(request.method.decode(), request.target.decode(), headers, body)
            await stream.send_all(_written(server, reply))
            if server.our_state is h11.MUST_CLOSE:
                return
            server.start_next_cycle()
    except (ConnectionCut, h11.RemoteProtocolError, trio.BrokenResourceError, trio.ClosedResourceError):
        return
    finally:
        with trio.move_on_after(1, shield=True):
            await stream.aclose()


async def _next(server: h11.Connection, stream: trio.SocketStream) -> Any:
    while (event := server.next_event()) is h11.NEED_DATA:
        server.receive_data(await stream.receive_some())
    return event


def _written(server: h11.Connection, reply: Reply) -> bytes:
    body = json.dumps(reply.body).encode()
    head = h11.Response(
        status_code=reply.status,
        headers=[("content-type", "application/json"), ("content-length", str(len(body))), ("request-id", "req_peer")],
    )
    parts = [server.send(head), server.send(h11.Data(data=body)), server.send(h11.EndOfMessage())]
    return b"".join(part or b"" for part in parts)


async def deliver(
    peer: StripePeer,
    url: str,
    secret: str,
    events: Iterable[Json],
    *,
    copies: int = 1,
    delay_seconds: float = 0,
    concurrently: bool = False,
) -> list[int]:
    """Post signed events to an endpoint in the order given, `copies` times each; returns the statuses.

    Duplicates, orders and delays are the caller's choice: pass events reversed, twice, or later.
    """
    statuses: list[int] = []
    if delay_seconds:
        await trio.sleep(delay_seconds)
    async with httpx.AsyncClient(timeout=30, verify=False) as client:

        async def post(event: Json) -> None:
            body, header = peer.signed(event, secret)
            answer = await client.post(url, content=body, headers={"Stripe-Signature": header})
            statuses.append(answer.status_code)

        async with trio.open_nursery() as nursery:
            for event in events:
                for _ in range(copies):
                    if concurrently:
                        nursery.start_soon(post, event)
                    else:
                        await post(event)
    return statuses
