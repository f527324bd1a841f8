"""Readers of the floor's outputs as a process of their own, like the consumers of the real relay.

Run as a process: `python -m bench.sink --port P --count N`. It opens N connections, prints `open`, and reads each to
its end.
"""

from __future__ import annotations

import argparse
import select
import socket

READ_BYTES = 1 << 18


def read_all(port: int, count: int) -> int:
    """Open `count` connections and read them until they are closed; give the number of bytes."""
    poll = select.epoll()
    by_fd: dict[int, socket.socket] = {}
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setblocking(False)
        by_fd[connection.fileno()] = connection
        poll.register(connection.fileno(), select.EPOLLIN)
    print("open", flush=True)
    total = 0
    while by_fd:
        for fd, _event in poll.poll():
            data = by_fd[fd].recv(READ_BYTES)
            total += len(data)
            if not data:
                poll.unregister(fd)
                by_fd.pop(fd).close()
    return total


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    parsed = parser.parse_args()
    read_all(parsed.port, parsed.count)
