"""The answering side: a socket that only this user can open; it lives as long as the daemon.

Invariant: the socket's directory is private before the socket exists. Owner: the daemon's nursery.
"""

import logging
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio

from provider.control.orders import MAX_LINE_BYTES, Answer, Order, decode_order, encode_line
from provider.control.place import is_own_directory
from provider.observe.place import last_place

log = logging.getLogger(__name__)

MAX_CONNECTIONS: Final = 8
ORDER_SECONDS: Final = 5.0
BACKLOG: Final = 8

Handle = Callable[[Order], Awaitable[Answer]]


class ControlPlaceRefused(Exception):
    """The socket cannot be made; the text names it."""


async def serve_control(
    path: Path, handle: Handle, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Answer orders until cancelled; started when it listens. Raises `ControlPlaceRefused`.

    Whoever calls it holds the lock of the home: a socket that lies there already belongs to nobody.
    """
    limit = trio.CapacityLimiter(MAX_CONNECTIONS)
    with _listening(path) as listener:
        try:
            async with trio.open_nursery() as nursery:
                task_status.started()
                while True:
                    connection, _peer = await listener.accept()
                    nursery.start_soon(_serve_one, connection, handle, limit)
        finally:
            with suppress(OSError):
                path.unlink()


def _listening(path: Path) -> trio.socket.SocketType:
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if not is_own_directory(path.parent):
            raise ControlPlaceRefused(f"The directory {path.parent} is not this user's; remove it.")
        with suppress(FileNotFoundError):
            path.unlink()
        plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            plain.bind(str(path))
        finally:
            os.umask(before)
        plain.listen(BACKLOG)
    except OSError as error:
        raise ControlPlaceRefused(
            f"The control socket {path} cannot be made ({error.strerror or error}); check the directory."
        ) from None
    return trio.socket.from_stdlib_socket(plain)


async def _serve_one(connection: trio.socket.SocketType, handle: Handle, limit: trio.CapacityLimiter) -> None:
    """One order, one answer. A peer that sends nothing, or hangs up, costs nobody else anything."""
    with connection:
        async with limit:
            try:
                order = await _read_order(connection)
                answer = await handle(order) if order is not None else _not_understood()
                with trio.move_on_after(ORDER_SECONDS):
                    await trio.SocketStream(connection).send_all(encode_line(answer))
            except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                return
            except Exception as error:
                log.error("order failed", extra={"fault": type(error).__name__, "place": last_place(error)})


async def _read_order(connection: trio.socket.SocketType) -> Order | None:
    line = bytearray()
    with trio.move_on_after(ORDER_SECONDS):
        while not line.endswith(b"\n") and len(line) <= MAX_LINE_BYTES:
            piece = await connection.recv(4096)
            if not piece:
                break
            line += piece
    return decode_order(bytes(line))


def _not_understood() -> Answer:
    return Answer(done=False, pid=os.getpid(), error="The order is not understood; is the daemon of another version?")
