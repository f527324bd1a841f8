"""Many streaming consumers in one process, as cheap as Python allows: epoll, recv, count.

It opens `--streams` connections, asks on each with its own name as the prompt, and reads until every stream has ended.
It prints one JSON object: events, bytes, streams that ended as their dialect ends; with `--times PATH` it writes the
arrival time of every content event, by stream name.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import time
from pathlib import Path
from typing import NamedTuple


class Dialect(NamedTuple):
    """Where to ask, the members of the body, what occurs once per content event, and what the last event holds."""

    path: str
    prompt: str
    bound: str
    marker: bytes
    end: bytes


DIALECTS = {
    "chat": Dialect("/v1/chat/completions", "messages", "max_tokens", b'"content":" token', b"data: [DONE]"),
    "completions": Dialect("/v1/completions", "prompt", "max_tokens", b'"text":" token', b"data: [DONE]"),
    "responses": Dialect(
        "/v1/responses", "input", "max_output_tokens", b'"delta":" token', b"event: response.completed"
    ),
    "messages": Dialect("/v1/messages", "messages", "max_tokens", b'"text":" token', b"event: message_stop"),
}


def ask(port: int, key: str, model: str, name: str, max_tokens: int, dialect: Dialect) -> socket.socket:
    """Open one connection and send one streaming request."""
    connection = socket.create_connection(("127.0.0.1", port))
    prompt = [{"role": "user", "content": name}] if dialect.prompt == "messages" else name
    body = json.dumps({"model": model, dialect.prompt: prompt, "stream": True, dialect.bound: max_tokens}).encode()
    head = (
        f"POST {dialect.path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection.sendall(head.encode() + body)
    return connection


def consume(connections: dict[str, socket.socket], *, marker: bytes, end: bytes, want_times: bool) -> dict[str, object]:
    """Read all streams to their end; count events by `marker` (bytes that occur once per content event)."""
    kept = max(len(marker), len(end), 32) - 1
    poll = select.epoll()
    names = {connection.fileno(): name for name, connection in connections.items()}
    arrivals: dict[str, list[float]] = {name: [] for name in connections}
    events = dict.fromkeys(connections, 0)
    tails = dict.fromkeys(connections, b"")
    done: set[str] = set()
    total = 0
    for connection in connections.values():
        connection.setblocking(False)
        poll.register(connection.fileno(), select.EPOLLIN)
    left = len(connections)
    first = 0.0
    while left:
        for fd, _event in poll.poll():
            name = names[fd]
            try:
                data = connections[name].recv(1 << 18)
            except ConnectionResetError:
                data = b""
            now = time.monotonic()
            first = first or now
            total += len(data)
            window = tails[name] + data
            count = window.count(marker)
            events[name] += count
            if want_times and count:
                arrivals[name] += [now] * count
            if end in window:
                done.add(name)
            # Keep less than one marker, so that a marker cut by a read is counted once.
            cut = window.rfind(marker) + 1
            tails[name] = window[max(cut, len(window) - kept) :]
            if b"[DONE]" in data[-64:] or window.endswith(b"0\r\n\r\n") or not data:
                poll.unregister(fd)
                left -= 1
    return {
        "events": sum(events.values()),
        "bytes": total,
        "done": len(done),
        "seconds": time.monotonic() - first,
        "arrivals": arrivals if want_times else {},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--key", default="")
    parser.add_argument("--model", required=True)
    parser.add_argument("--streams", type=int, required=True)
    parser.add_argument("--dialect", choices=DIALECTS, default="chat")
    parser.add_argument("--max-tokens", type=int, default=100000)
    parser.add_argument("--times")
    parsed = parser.parse_args()
    dialect = DIALECTS[parsed.dialect]
    opened = {
        f"stream-{index}": ask(parsed.port, parsed.key, parsed.model, f"stream-{index}", parsed.max_tokens, dialect)
        for index in range(parsed.streams)
    }
    outcome = consume(opened, marker=dialect.marker, end=dialect.end, want_times=bool(parsed.times))
    arrived = outcome.pop("arrivals")
    if parsed.times:
        Path(parsed.times).write_text(json.dumps(arrived))
    print(json.dumps(outcome))
