"""A raw streaming HTTP/1.1 client that can be slow, half-close or vanish: what SDKs hide, tests must see."""

from __future__ import annotations

import json
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import h11
import trio

READ_BYTES = 1 << 16


@dataclass
class Head:
    """Status and headers (lower-case names) of an answer."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)


class Consumer:
    """One connection to the coordinator."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.raw = bytearray()
        self._rest = b""
        self._events: deque[str] = deque()
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)

    async def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Head:
        """Send one request and wait for the head of its answer."""
        await self.request("POST", path, body, headers)
        return await self.head()

    async def request(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Send one request."""
        fields = {"host": "testbed", "content-length": str(len(body)), "content-type": "application/json", **headers}
        data = self._connection.send(h11.Request(method=method, target=path, headers=list(fields.items())))
        data = (data or b"") + (self._connection.send(h11.Data(data=body)) or b"")
        await self.stream.send_all(data + (self._connection.send(h11.EndOfMessage()) or b""))

    async def head(self) -> Head:
        """Wait for status and headers."""
        event = await self._next()
        assert isinstance(event, h11.Response), f"expected an answer, got {event!r}"
        return Head(event.status_code, {k.decode().lower(): v.decode() for k, v in event.headers})

    async def body(self) -> AsyncIterator[bytes]:
        """Give the body piece by piece; raises `h11.RemoteProtocolError` when it is cut."""
        while True:
            event = await self._next()
            if isinstance(event, h11.EndOfMessage):
                return
            assert isinstance(event, h11.Data), f"expected data, got {event!r}"
            yield bytes(event.data)

    async def whole(self) -> bytes:
        """Give the whole body."""
        return b"".join([piece async for piece in self.body()])

    async def next_event(self) -> str | None:
        """Give the data of the next server-sent event, None at the proper end; comments are left out."""
        while not self._events:
            piece = await self._next()
            if isinstance(piece, h11.EndOfMessage):
                assert not self._rest, "the stream ended inside an event"
                return None
            assert isinstance(piece, h11.Data), f"expected data, got {piece!r}"
            self._rest += bytes(piece.data)
            *whole, self._rest = self._rest.split(b"\n\n")
            lines = (line for event in whole for line in event.split(b"\n"))
            self._events.extend(line[6:].decode() for line in lines if line.startswith(b"data: "))
        return self._events.popleft()

    async def events(self) -> AsyncIterator[str]:
        """Give the data of each server-sent event up to the end."""
        while (event := await self.next_event()) is not None:
            yield event

    async def _next(self) -> Any:
        while True:
            event = self._connection.next_event()
            if event is not h11.NEED_DATA:
                return event
            data = await self.stream.receive_some(READ_BYTES)
            self.raw += data
            self._connection.receive_data(data)

    async def half_close(self) -> None:
        """Close the sending side only."""
        await self.stream.send_eof()

    def vanish(self) -> None:
        """Tear the connection down with a reset."""
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.stream.socket.close()


@asynccontextmanager
async def connect(port: int, *, receive_buffer: int | None = None) -> AsyncIterator[Consumer]:
    """Open a connection to loopback; a small receive buffer makes a slow reader visible early."""
    sock = trio.socket.socket()
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    try:
        await sock.connect(("127.0.0.1", port))
    except BaseException:
        sock.close()
        raise
    stream = trio.SocketStream(sock)
    try:
        yield Consumer(stream)
    finally:
        await trio.aclose_forcefully(stream)


def chat_body(model: str, prompt: str = "Hello", *, stream: bool = True, **more: Any) -> bytes:
    """Give the JSON of a chat request."""
    messages = [{"role": "user", "content": prompt}]
    return json.dumps({"model": model, "messages": messages, "stream": stream, **more}).encode()


async def chat(
    port: int, key: str, model: str, prompt: str = "Hello", *, stream: bool = True, **more: Any
) -> tuple[Head, str, list[str]]:
    """Ask once; give the head, the text and all event payloads (or the one JSON body)."""
    async with connect(port) as consumer:
        head = await consumer.post(
            "/v1/chat/completions", chat_body(model, prompt, stream=stream, **more), {"authorization": f"Bearer {key}"}
        )
        if not stream or head.status != 200:
            body = (await consumer.whole()).decode()
            choices = json.loads(body).get("choices") or [{"message": {"content": ""}}]
            return head, choices[0]["message"]["content"], [body]
        events = [event async for event in consumer.events()]
    return head, text_of(events), events


def text_of(events: list[str]) -> str:
    """Join the content deltas of stream events."""
    text = ""
    for event in events:
        if event == "[DONE]":
            continue
        for choice in json.loads(event).get("choices", []):
            text += choice["delta"].get("content") or ""
    return text
