"""Bytes that come in the very turn in which the idle time of a kept-alive connection ends."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from server.listener.connection import Connection
from server.listener.http1_server import Http1Server
from server.listener.limits import ListenerLimits
from server.listener.read_head import read_head

IDLE_SECONDS = 120.0


def _request(path: str) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n".encode()


@pytest.mark.parametrize("_turn", range(10))  # which task runs first in a turn of the loop is drawn
async def test_a_request_is_answered_whole_or_not_begun(mock_clock: MockClock, _turn: int) -> None:
    began: list[str] = []
    ended: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["extensions"]["darkbloom.transport"].source.listen(lambda _event: None)
        began.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok", "more_body": False})
        ended.append(scope["path"])

    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        limits = ListenerLimits(idle_seconds=IDLE_SECONDS)
        connection = Connection(ours, peer="127.0.0.1", limits=limits, tls=None)

        async def serve() -> None:
            head = await read_head(connection, wait_seconds=10, head_seconds=10)
            assert head is not None
            server = Http1Server(
                app,
                connection,
                limits=limits,
                trusted_proxies=(),
                on_crash=began.append,
                stopping=lambda: False,
                new_request_id=lambda: "r",
            )
            await server.run(head)
            await connection.close()

        async with trio.open_nursery() as nursery:
            theirs.send(_request("/1"))
            nursery.start_soon(serve)
            await wait_all_tasks_blocked()
            assert theirs.recv(1000).startswith(b"HTTP/1.1 200")
            theirs.send(_request("/2"))
            mock_clock.jump(IDLE_SECONDS)
            mock_clock.autojump_threshold = 0
    assert began == ended
