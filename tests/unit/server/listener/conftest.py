"""A listener on loopback with a small application, plain or TLS, and raw clients for it."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from quart import request
from quart_trio import QuartTrio

from server.answer import AnswerAborted, AnswerWriter, StreamingAnswer, install_streaming
from server.listener import LOOPBACK_NETWORKS, Listener, ListenerLimits, RequestHead, server_tls_context

if TYPE_CHECKING:
    from server.listener import IpNetwork

BOTH = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
LIMITS = ListenerLimits(head_seconds=5.0, idle_seconds=5.0, write_deadline_seconds=5.0, linger_seconds=0.5)


@dataclass
class Seen:
    """What happened inside the application and the link."""

    cancelled: trio.Event = field(default_factory=trio.Event)
    streaming: trio.Event = field(default_factory=trio.Event)
    crashes: list[BaseException] = field(default_factory=list)
    links: list[tuple[RequestHead, bytes, str]] = field(default_factory=list)


def build_app(seen: Seen, *, write_deadline_seconds: float = 5.0) -> QuartTrio:
    app = QuartTrio("seam")
    install_streaming(app, write_deadline_seconds=write_deadline_seconds, body_seconds=5.0)
    app.config["MAX_CONTENT_LENGTH"] = 1024 * 1024

    @app.get("/hello")
    async def hello() -> str:
        return "hello"

    @app.get("/large")
    async def large() -> bytes:
        return b"y" * 1_000_000

    @app.post("/echo")
    async def echo() -> bytes:
        return await request.get_data()

    @app.post("/refuse")
    async def refuse() -> tuple[str, int]:
        return "too much", 413

    @app.get("/client")
    async def client() -> str:
        return f"{request.remote_addr} {request.scheme}"

    @app.get("/wait")
    async def wait() -> str:
        seen.streaming.set()
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            seen.cancelled.set()
            raise
        return "never"

    @app.get("/stream/<int:count>")
    async def stream(count: int) -> StreamingAnswer:
        async def produce(writer: AnswerWriter) -> None:
            for number in range(count):
                await writer.write(b"data: %d\n\n" % number)
                await trio.sleep(0.01)

        return StreamingAnswer(produce, headers={"Content-Type": "text/event-stream"})

    @app.get("/flood")
    async def flood() -> StreamingAnswer:
        async def produce(writer: AnswerWriter) -> None:
            seen.streaming.set()
            try:
                while True:
                    await writer.write(b"x" * 8192)
            finally:
                seen.cancelled.set()

        return StreamingAnswer(produce)

    @app.get("/open")
    async def opened() -> StreamingAnswer:
        async def produce(writer: AnswerWriter) -> None:
            await writer.write(b"first")
            seen.streaming.set()
            try:
                await trio.sleep_forever()
            finally:
                seen.cancelled.set()

        return StreamingAnswer(produce)

    @app.get("/through/<int:count>")
    async def through(count: int) -> StreamingAnswer:
        async def produce(writer: AnswerWriter) -> None:
            """Let another task write through, as a provider's reader does, and only drain here."""

            async def reader() -> None:
                for number in range(count):
                    if not writer.direct or not writer.idle or not writer.write_now(b"%05d," % number * 200):
                        if not writer.direct:
                            writer.write_now(b"%05d," % number * 200)
                        await writer.drain()
                    await trio.lowlevel.checkpoint()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(reader)

        return StreamingAnswer(produce)

    @app.get("/crash")
    async def crash() -> StreamingAnswer:
        async def produce(writer: AnswerWriter) -> None:
            await writer.write(b"first")
            raise ValueError("secret")

        return StreamingAnswer(produce)

    @app.get("/abort")
    async def abort() -> StreamingAnswer:
        async def produce(writer: AnswerWriter) -> None:
            await writer.write(b"first")
            raise AnswerAborted

        return StreamingAnswer(produce)

    inner = app.asgi_app

    async def outermost(scope: Any, receive: Any, send: Any) -> None:
        """Crash outside everything that recovers, before or behind the head, or behind the first bytes."""
        path = scope["path"]
        if path == "/crash-outside":
            raise ValueError("canary-value")
        if path in ("/crash-behind-head", "/crash-behind-bytes"):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            if path == "/crash-behind-bytes":
                await send({"type": "http.response.body", "body": b"some", "more_body": True})
            raise ValueError("canary-value")
        await inner(scope, receive, send)

    app.asgi_app = outermost  # type: ignore[method-assign]
    return app


@dataclass
class Door:
    """A running listener."""

    listener: Listener
    port: int
    seen: Seen
    client_tls: ssl.SSLContext | None
    clients: list[trio.SocketStream] = field(default_factory=list)

    async def connect(self, *, alpn: str = "http/1.1") -> trio.abc.Stream:
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        self.clients.append(stream)
        if self.client_tls is None:
            return stream
        self.client_tls.set_alpn_protocols([alpn])
        secure = trio.SSLStream(stream, self.client_tls, server_hostname="localhost", https_compatible=True)
        await secure.do_handshake()
        return secure


OpenDoor = Callable[..., Any]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A throw-away certificate for localhost: (certificate file, key file)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_file, key_file


@pytest.fixture
def open_door(certificate: tuple[Path, Path]) -> OpenDoor:
    """Return an async context manager that runs a listener and yields a Door; fails the test on a crash."""

    @asynccontextmanager
    async def opened(
        *,
        tls: bool = False,
        limits: ListenerLimits = LIMITS,
        trusted: tuple[IpNetwork, ...] = LOOPBACK_NETWORKS,
        link: Callable[[trio.abc.Stream, RequestHead, bytes, str], Awaitable[None]] | None = None,
        write_deadline_seconds: float = 5.0,
        crashes_expected: bool = False,
    ) -> AsyncIterator[Door]:
        seen = Seen()

        async def record_link(stream: trio.abc.Stream, head: RequestHead, leftover: bytes, ip: str) -> None:
            seen.links.append((head, leftover, ip))
            await stream.send_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\nraw:" + leftover)

        listener = Listener(
            build_app(seen, write_deadline_seconds=write_deadline_seconds),
            link or record_link,
            limits=limits,
            trusted_proxies=trusted,
            tls=server_tls_context(*certificate) if tls else None,
            on_crash=seen.crashes.append,
            new_request_id=lambda: "abc123def456",
        )
        client_tls = None
        if tls:
            client_tls = ssl.create_default_context(cafile=str(certificate[0]))
        async with trio.open_nursery() as nursery:
            urls = await nursery.start(listener.run, "127.0.0.1", 0)
            door = Door(listener, int(urls[0].rsplit(":", 1)[1]), seen, client_tls)
            try:
                yield door
            finally:
                for client in door.clients:
                    client.socket.close()
            nursery.cancel_scope.cancel()
        assert crashes_expected or not seen.crashes

    return opened


async def read_until(stream: trio.abc.Stream, marker: bytes, *, seconds: float = 5.0) -> bytes:
    """Read until `marker` was seen; fails after `seconds`."""
    data = b""
    with trio.fail_after(seconds):
        while marker not in data:
            part = await stream.receive_some(65536)
            assert part, f"the connection ended after {data!r}"
            data += part
    return data


async def read_to_end(stream: trio.abc.Stream, *, seconds: float = 5.0) -> bytes:
    """Read until EOF; fails after `seconds`."""
    data = b""
    with trio.fail_after(seconds):
        while part := await stream.receive_some(65536):
            data += part
    return data
