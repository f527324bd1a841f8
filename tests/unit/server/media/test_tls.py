"""Media over TLS from a real server: the certificate must be that of the name, whichever address was dialled."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from protocol.api.errors import ApiError
from server.media import MediaFetcher
from tests.unit.server.media.web import image, ok, png

NAME = "good.test"


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificate and key of the server, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(built.public_bytes(serialization.Encoding.PEM) + private)
    return path


@asynccontextmanager
async def serving(identity: Path) -> AsyncIterator[int]:
    """A server on loopback that answers every request with a picture; gives its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity)

    async def serve(stream: trio.SocketStream) -> None:
        secured = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        try:
            await secured.receive_some()
            await secured.send_all(ok(png()))
        except trio.BrokenResourceError:
            pass  # the client did not like the certificate
        await trio.aclose_forcefully(secured)

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


def fetcher(identity: Path, *, trusts: bool = True) -> MediaFetcher:
    """A fetcher for which loopback is public, with names that all lead there; without `trusts` the system decides."""
    context = ssl.create_default_context(cafile=str(identity)) if trusts else None

    async def resolve(host: str, port: int) -> list[str]:
        await trio.lowlevel.checkpoint()
        return ["127.0.0.1"]

    return MediaFetcher(resolve=resolve, is_allowed=lambda address: address == "127.0.0.1", tls=context)


async def test_a_picture_over_tls(identity: Path) -> None:
    async with serving(identity) as port:
        for host in (NAME, f"{NAME}."):
            found = await fetcher(identity).fetch([image(f"https://{host}:{port}/x.png")])
            assert next(iter(found.values())).startswith("data:image/png;base64,")


@pytest.mark.parametrize(("host", "trusts"), [("other.test", True), (NAME, False), ("127.0.0.1", True)])
async def test_a_certificate_that_does_not_fit_is_502(host: str, trusts: bool, identity: Path) -> None:
    async with serving(identity) as port:
        with pytest.raises(ApiError) as caught:
            await fetcher(identity, trusts=trusts).fetch([image(f"https://{host}:{port}/x.png")])
    assert (caught.value.status, caught.value.code) == (502, "media_fetch_failed")


async def test_a_server_without_tls_is_502() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(ok(png()))
        await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        port = listener.socket.getsockname()[1]

        async def resolve(host: str, _port: int) -> list[str]:
            await trio.lowlevel.checkpoint()
            return ["127.0.0.1"]

        loose = MediaFetcher(resolve=resolve, is_allowed=lambda _: True, tls=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        with pytest.raises(ApiError) as caught:
            await loose.fetch([image(f"https://{NAME}:{port}/x.png")])
        assert caught.value.code == "media_fetch_failed"
        found = await loose.fetch([image(f"http://{NAME}:{port}/x.png")])
        assert len(found) == 1
        nursery.cancel_scope.cancel()
