"""A little internet in memory: names, addresses, and servers that answer with canned bytes."""

from __future__ import annotations

import ssl
import struct
from collections.abc import Sequence
from typing import Any

import trio
from trio.testing import memory_stream_pair

from protocol.api.media import MediaPart
from server.media import MediaFetcher, MediaLimits
from server.media.dial import Dialled

PUBLIC = "93.184.216.34"
OTHER = "93.184.216.35"
_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def png(width: int = 2, height: int = 2, size: int = 64) -> bytes:
    """A file that begins like a PNG picture."""
    head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height)
    return head + b"\0" * max(0, size - len(head))


def ok(body: bytes, *headers: str) -> bytes:
    """A complete answer with this body."""
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", "Content-Type: text/html", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def redirect(location: str, status: int = 302) -> bytes:
    """An answer that sends elsewhere."""
    return f"HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode("latin-1")


class Web:
    """`names` are what the resolver answers, each time the next one; `sites` what stands at (address, path).

    `dialled` remembers every connection that was opened, `asked` every request line.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.names: dict[str, list[Sequence[str]]] = {"good.test": [[PUBLIC]], "other.test": [[OTHER]]}
        self.sites: dict[tuple[str, str], bytes] = {}
        self.peers: dict[str, str] = {}
        self.dialled: list[tuple[str, int]] = []
        self.asked: list[str] = []
        self.heads: list[bytes] = []
        self.pause = 0.0
        self.open = 0
        self.most_open = 0

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        await trio.lowlevel.checkpoint()
        if host in self.names:
            answers = self.names[host]
            return answers.pop(0) if len(answers) > 1 else answers[0]
        if host.replace(".", "").isdigit() or ":" in host:
            return [host]
        raise OSError("no such name")

    async def dial(self, address: str, port: int) -> Dialled:
        await trio.lowlevel.checkpoint()
        self.dialled.append((address, port))
        if not any(place == address for place, _ in self.sites):
            raise OSError("nobody there")
        ours, theirs = memory_stream_pair()
        self._nursery.start_soon(self._serve, theirs, address)
        return Dialled(ours, self.peers.get(address, address))

    async def _serve(self, stream: trio.abc.Stream, address: str) -> None:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        head = b""
        try:
            while b"\r\n\r\n" not in head:
                got = await stream.receive_some()
                if not got:
                    return
                head += got
            self.heads.append(head)
            line = head.split(b"\r\n")[0].decode("latin-1")
            self.asked.append(line)
            await trio.sleep(self.pause)
            await stream.send_all(self.sites.get((address, line.split(" ")[1]), b"HTTP/1.1 404 No\r\n\r\n"))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self.open -= 1
            await trio.aclose_forcefully(stream)

    def fetcher(self, *, blocked: Sequence[str] = (), **limits: Any) -> MediaFetcher:
        """A fetcher in this internet, with the real judgement of addresses."""
        return MediaFetcher(
            MediaLimits(**limits), blocked_domains=blocked, resolve=self.resolve, dial=self.dial, tls=_TLS
        )


def image(url: str, part: int = 0) -> MediaPart:
    """One part of a message."""
    return MediaPart(0, part, "image", url)


def video(url: str) -> MediaPart:
    """One part of a message."""
    return MediaPart(0, 0, "video", url)
