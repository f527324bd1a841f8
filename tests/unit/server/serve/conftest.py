"""Running coordinators on loopback, and requests to the application without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from protocol.settings import Secret
from server.config import CoordinatorSettings
from server.serve import Coordinator, open_coordinator

OpenCoordinator = Callable[..., Any]


@pytest.fixture
def running() -> OpenCoordinator:
    """Return an async context manager that runs a coordinator and yields (coordinator, port)."""

    @asynccontextmanager
    async def opened(**changes: Any) -> AsyncIterator[tuple[Coordinator, int]]:
        settings = CoordinatorSettings(
            **{"strict_tasks": True, "allow_dev_attestation": True, "allow_memory_store": True, **changes}
        )
        async with open_coordinator(settings) as coordinator, trio.open_nursery() as nursery:
            urls = await nursery.start(coordinator.listener.run, "127.0.0.1", 0)
            yield coordinator, int(urls[0].rsplit(":", 1)[1])
            nursery.cancel_scope.cancel()

    return opened


@pytest.fixture
def token() -> Secret:
    return Secret("metrics-secret")


async def ask(port: int, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send one request on a connection of its own; returns status, headers (lower case) and the rest."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        await stream.send_all(request)
        data = b""
        with trio.fail_after(5):
            while part := await stream.receive_some(65536):
                data += part
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), headers, body


def get(path: str, *headers: str, method: str = "GET") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", "Content-Length: 0", *headers, "", ""]
    return "\r\n".join(lines).encode()
