"""The floor: bare epoll in Python, one recv and one send per frame, no parsing at all.

Run as a process: `python -m bench.floor --ready-file PATH`. It listens on two ports: what arrives on a connection to
the first port is passed on, frame by frame, in turn to the connections of the second that belong to it, until all
inputs are closed. At its end it prints CPU time and number of frames as JSON.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import time
from pathlib import Path


def _listen() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0), backlog=512)


def run(ready_file: str, inputs: int, outputs_per_input: int, frame_bytes: int, read_bytes: int) -> dict[str, float]:
    """Relay until every input is closed; return CPU seconds, frames, reads."""
    sources, sinks = _listen(), _listen()
    Path(ready_file).write_text(json.dumps({"in": sources.getsockname()[1], "out": sinks.getsockname()[1]}))
    ins = [sources.accept()[0] for _ in range(inputs)]
    outs = [[sinks.accept()[0] for _ in range(outputs_per_input)] for _ in range(inputs)]
    poll = select.epoll()
    by_fd = {}
    for index, connection in enumerate(ins):
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poll.register(connection.fileno(), select.EPOLLIN)
        by_fd[connection.fileno()] = (connection, outs[index])
    for group in outs:
        for connection in group:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    frames = reads = 0
    started = time.process_time()
    while by_fd:
        for fd, _event in poll.poll():
            connection, targets = by_fd[fd]
            data = connection.recv(read_bytes)
            if not data:
                poll.unregister(fd)
                del by_fd[fd]
                continue
            reads += 1
            for start in range(0, len(data), frame_bytes):
                targets[frames % len(targets)].send(data[start : start + frame_bytes])
                frames += 1
    return {"cpu_s": time.process_time() - started, "frames": frames, "reads": reads}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ready-file", required=True)
    parser.add_argument("--inputs", type=int, default=7)
    parser.add_argument("--outputs-per-input", type=int, default=14)
    parser.add_argument("--frame-bytes", type=int, default=548)
    parser.add_argument("--read-bytes", type=int, default=65536)
    parsed = parser.parse_args()
    print(
        json.dumps(
            run(parsed.ready_file, parsed.inputs, parsed.outputs_per_input, parsed.frame_bytes, parsed.read_bytes)
        )
    )
