"""TCP sockets of the coordinator: opening them for listening and setting what each kind of peer needs."""

from __future__ import annotations

import socket
import struct
from typing import Final

BACKLOG: Final = 1024
# A peer that acknowledges nothing for this long is gone; the kernel then fails the socket instead of retrying for
# a quarter of an hour.
USER_TIMEOUT_MS: Final = 30_000
KEEPALIVE_IDLE_SECONDS: Final = 30
KEEPALIVE_INTERVAL_SECONDS: Final = 10
KEEPALIVE_PROBES: Final = 3
# Unsent bytes that the kernel takes for one consumer: otherwise it swallows megabytes (20,000 tokens) before anyone
# notices that the reader stalled.
CONSUMER_UNSENT_BYTES: Final = 32 * 1024


def open_listening_sockets(host: str, port: int) -> list[socket.socket]:
    """Bind and listen on every address of `host`; port 0 takes one free port for all of them.

    Raises OSError when an address cannot be bound; nothing stays open then.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    opened: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            sock = socket.socket(family, kind, protocol)
            opened.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if port == 0 and len(opened) > 1:
                address = (address[0], opened[0].getsockname()[1], *address[2:])
            sock.bind(address)
            sock.listen(BACKLOG)
            sock.setblocking(False)
    except OSError:
        for sock in opened:
            sock.close()
        raise
    return opened


def set_common_options(sock: socket.socket) -> None:
    """Send small writes at once and find out about vanished peers."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE_SECONDS),
        ("TCP_KEEPALIVE", KEEPALIVE_IDLE_SECONDS),  # the name on macOS
        ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_SECONDS),
        ("TCP_KEEPCNT", KEEPALIVE_PROBES),
        ("TCP_USER_TIMEOUT", USER_TIMEOUT_MS),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def set_consumer_options(sock: socket.socket) -> None:
    """Keep the kernel from buffering much of an answer that nobody reads."""
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if option is not None:
        sock.setsockopt(socket.IPPROTO_TCP, option, CONSUMER_UNSENT_BYTES)


def reset_consumer_options(sock: socket.socket) -> None:
    """Undo set_consumer_options on a reused connection that becomes a provider's."""
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if option is not None:
        sock.setsockopt(socket.IPPROTO_TCP, option, 0)


def reset_on_close(sock: socket.socket) -> None:
    """Make the next close throw away unsent bytes and reset the connection, where the system still lets us."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass  # macOS takes no option for a socket that was shut in both directions: there is nothing left to reset
