"""A connection to a public address, whatever a name server says: the address is judged, then that very one is dialled.

There is no second look at the name, so an answer that changes between two looks changes nothing.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import trio

from protocol.authorities import trusted_authorities
from server.media.refusals import blocked, failed

if TYPE_CHECKING:
    from server.media.url import MediaUrl

MAX_ADDRESSES: Final = 4
"""Addresses of one name that are tried."""

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""Gives the addresses of a host name, in the order to be tried; raises OSError."""


class Dialled(NamedTuple):
    """An open connection, and the address that is really at its other end."""

    stream: trio.abc.Stream
    peer: str


Dial: TypeAlias = Callable[[str, int], Awaitable[Dialled]]
"""Opens a connection to a literal address; raises OSError."""


async def dial_tcp(address: str, port: int) -> Dialled:
    """Connect a socket; see Dial."""
    sock = trio.socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        await sock.connect((address, port))
        return Dialled(trio.SocketStream(sock), str(sock.getpeername()[0]))
    except BaseException:
        sock.close()
        raise


class SystemResolver:
    """Asks the system's resolver, in threads of its own: one that hangs must not keep other work from its thread."""

    def __init__(self, threads: int) -> None:
        self._threads = trio.CapacityLimiter(threads)

    async def __call__(self, host: str, port: int) -> list[str]:
        """See Resolve; a literal address is its own. Cancelled, it leaves the thread to itself."""
        if _is_address(host):
            return [host]
        found = await trio.to_thread.run_sync(
            partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM),
            abandon_on_cancel=True,
            limiter=self._threads,
        )
        return [str(address[0]) for _, _, _, _, address in found]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class Dialler:
    """`is_allowed` judges an address as text, before the dial and after it; `tls` trusts whom https is asked of.

    Without `tls` the system's authorities are trusted, read at the first https address.
    """

    def __init__(
        self, *, resolve: Resolve, dial: Dial, is_allowed: Callable[[str], bool], tls: ssl.SSLContext | None = None
    ) -> None:
        self._resolve = resolve
        self._dial = dial
        self._is_allowed = is_allowed
        self._tls = tls

    async def connect(self, url: MediaUrl) -> trio.abc.Stream:
        """Connect; raises ApiError 403 for a host with any address that is not public, 502 when nobody answers."""
        try:
            addresses = list(dict.fromkeys(await self._resolve(url.host, url.port)))
        except (OSError, UnicodeError):
            raise failed() from None
        if not addresses:
            raise failed()
        # One address that is not public is enough: who mixes them means no good.
        if not all(self._is_allowed(address) for address in addresses):
            raise blocked()
        for address in addresses[:MAX_ADDRESSES]:
            try:
                stream, peer = await self._dial(address, url.port)
            except OSError:
                continue
            if not self._is_allowed(peer):
                await trio.aclose_forcefully(stream)
                raise blocked()
            return await self._secured(stream, url) if url.tls else stream
        raise failed()

    async def _secured(self, stream: trio.abc.Stream, url: MediaUrl) -> trio.abc.Stream:
        try:
            if self._tls is None:
                self._tls = await trio.to_thread.run_sync(trusted_authorities)
            secured = trio.SSLStream(stream, self._tls, server_hostname=url.host.rstrip("."), https_compatible=True)
            await secured.do_handshake()
        except (trio.BrokenResourceError, ssl.SSLError, ssl.CertificateError):
            await trio.aclose_forcefully(stream)
            raise failed() from None
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return secured
