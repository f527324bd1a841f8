"""A download server on a real loopback socket that serves files in ranges and fails as a test says."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from socket import SO_SNDBUF, SOL_SOCKET
from urllib.parse import unquote, urlsplit

import trio

from protocol.manifest import Manifest, encode_manifest
from provider.catalog.manifest_builder import build_manifest

PIECE = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong with one answer. `cut_after` bytes of it the connection ends; `corrupt` flips its first byte."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    corrupt: bool = False
    whole: bool = False
    total: int | None = None
    shift: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: path below the root, first and last byte asked for (None without a range), how often before."""

    path: str
    first: int | None
    last: int | None
    before: int


class ModelServer:
    """Made by `open`. `faults` is asked for every request of a file; `documents` are answered as they are."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.documents: dict[str, tuple[int, bytes]] = {}
        self.faults: Callable[[Asked], Fault | None] = lambda _asked: None
        self.bytes_per_second = math.inf
        self.asked: Counter[str] = Counter()
        self.sent = 0
        self.most_at_once = 0
        self.received: list[tuple[str, bytes]] = []
        self.port = 0
        self._now = 0

    @classmethod
    @asynccontextmanager
    async def open(cls, port: int = 0) -> AsyncIterator[ModelServer]:
        """Serve for the length of the block."""
        server = cls()
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(trio.serve_tcp, server._serve, port, host="127.0.0.1"))
            server.port = listeners[0].socket.getsockname()[1]
            yield server
            nursery.cancel_scope.cancel()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def publish(self, directory: Path, model_id: str = "org/tiny-4bit", version: str = "1") -> Manifest:
        """Serve a model folder as publishers do, and list it in a catalogue."""
        manifest = build_manifest(directory, model_id=model_id, version=version, created_at="2026-07-01T00:00:00Z")
        for file in manifest.files:
            self.files[f"{manifest.r2_prefix}/{file.path}"] = (directory / file.path).read_bytes()
        self.documents[f"v1/models/catalog/manifest/{model_id}"] = (200, encode_manifest(manifest))
        return manifest

    def serve_folder(self, root: Path) -> None:
        """Serve all files below a folder, as `darkbloom models publish --to` leaves them."""
        for path in root.rglob("*"):
            if path.is_file():
                self.files[path.relative_to(root).as_posix()] = path.read_bytes()

    async def _serve(self, stream: trio.SocketStream) -> None:
        stream.setsockopt(SOL_SOCKET, SO_SNDBUF, PIECE)
        buffer = b""
        try:
            while True:
                while b"\r\n\r\n" not in buffer:
                    received = await stream.receive_some(65536)
                    if not received:
                        return
                    buffer += received
                head, _, buffer = buffer.partition(b"\r\n\r\n")
                lines = head.decode().split("\r\n")
                headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
                length = int(headers.get("content-length", 0))
                while len(buffer) < length:
                    buffer += await stream.receive_some(65536)
                body, buffer = buffer[:length], buffer[length:]
                method, target, _version = lines[0].split()
                path = unquote(urlsplit(target).path).lstrip("/")
                if body:
                    self.received.append((path, bytes(body)))
                if method == "HEAD":
                    await self._tell_size(stream, path)
                elif not await self._answer(stream, path, headers.get("range", "")):
                    return
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
        finally:
            await trio.aclose_forcefully(stream)

    async def _tell_size(self, stream: trio.SocketStream, path: str) -> None:
        found = self.files.get(path)
        status, size = (404, 0) if found is None else (200, len(found))
        await stream.send_all(f"HTTP/1.1 {status} X\r\nContent-Length: {size}\r\n\r\n".encode())

    async def _answer(self, stream: trio.SocketStream, path: str, wanted: str) -> bool:
        if path in self.documents:
            status, content = self.documents[path]
            return await self._send(stream, status, {}, content, None)
        content_or_none = self.files.get(path)
        if content_or_none is None:
            return await self._send(stream, 404, {}, b"", None)
        content = content_or_none
        first, last = _range(wanted, len(content))
        fault = self.faults(Asked(path.rpartition("/")[2], first, last, self.asked[path])) or Fault()
        self.asked[path] += 1
        if fault.status:
            return await self._send(stream, fault.status, fault.headers, b"", None)
        if first is None or last is None or fault.whole:
            return await self._send(stream, 200, {}, content, fault)
        if first >= len(content):
            return await self._send(stream, 416, {}, b"", None)
        first += fault.shift
        total = len(content) if fault.total is None else fault.total
        part = content[first : last + 1]
        return await self._send(stream, 206, {"Content-Range": f"bytes {first}-{last}/{total}"}, part, fault)

    async def _send(
        self, stream: trio.SocketStream, status: int, headers: Mapping[str, str], body: bytes, fault: Fault | None
    ) -> bool:
        fault = fault or Fault()
        if fault.corrupt and body:
            body = bytes([body[0] ^ 1]) + body[1:]
        head = "".join(f"{name}: {value}\r\n" for name, value in {**headers, "Content-Length": len(body)}.items())
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        try:
            await stream.send_all(f"HTTP/1.1 {status} X\r\n{head}\r\n".encode())
            end = len(body) if fault.cut_after is None else min(fault.cut_after, len(body))
            for start in range(0, end, PIECE):
                piece = body[start : min(start + PIECE, end)]
                await stream.send_all(piece)
                self.sent += len(piece)
                if self.bytes_per_second < math.inf:
                    await trio.sleep(len(piece) / self.bytes_per_second)
        finally:
            self._now -= 1
        return fault.cut_after is None


def _range(wanted: str, size: int) -> tuple[int | None, int | None]:
    if not wanted.startswith("bytes="):
        return None, None
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    return int(first), min(int(last), size - 1)
