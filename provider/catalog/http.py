"""HTTP for small documents: bounded size, bounded time, foreign exceptions ended here."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import httpx
import trio

from protocol.authorities import trusted_authorities
from provider.catalog.failures import CatalogFailed

CONNECT_SECONDS: Final = 10.0
READ_SECONDS: Final = 30.0
CLOSE_SECONDS: Final = 2.0
MAX_REDIRECTS: Final = 3
MAX_CONNECTIONS: Final = 24


class Document(NamedTuple):
    """An answer with its whole body."""

    status: int
    content: bytes


@asynccontextmanager
async def open_http() -> AsyncIterator[httpx.AsyncClient]:
    """Keep connections for the length of the block; the system's certificates are trusted, proxies are not asked."""
    async with httpx.AsyncClient(
        headers={"Accept-Encoding": "identity", "User-Agent": "darkbloom"},
        timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS, pool=None),
        limits=httpx.Limits(max_connections=MAX_CONNECTIONS),
        follow_redirects=True,
        max_redirects=MAX_REDIRECTS,
        trust_env=False,
        verify=trusted_authorities(),
    ) as client:
        yield client


async def fetch_document(client: httpx.AsyncClient, url: str, *, max_bytes: int) -> Document:
    """Get a small document whatever its status; raises `CatalogFailed` when none comes, or a longer one."""
    return await _exchange(url, lambda: client.stream("GET", url), max_bytes=max_bytes)


async def send_document(
    client: httpx.AsyncClient, url: str, body: Mapping[str, object], *, key: str, max_bytes: int
) -> Document:
    """Post JSON with a bearer key, which follows no redirect; gives the answer as `fetch_document` does."""
    headers = {"Authorization": f"Bearer {key}"}
    return await _exchange(
        url,
        lambda: client.stream("POST", url, json=body, headers=headers, follow_redirects=False),
        max_bytes=max_bytes,
    )


async def _exchange(
    url: str, ask: Callable[[], AbstractAsyncContextManager[httpx.Response]], *, max_bytes: int
) -> Document:
    server = urlsplit(url).netloc or url
    content = bytearray()

    async def take(piece: bytes) -> bool:
        content.extend(piece)
        return len(content) <= max_bytes

    try:
        with trio.fail_after(READ_SECONDS):
            async with ask() as answer:
                await consume(answer, take)
    except trio.TooSlowError:
        raise CatalogFailed(f"{server} did not answer within {READ_SECONDS:.0f} s; try again later.") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise CatalogFailed(f"{server} cannot be reached ({type(error).__name__}); check the address.") from None
    if len(content) > max_bytes:
        raise CatalogFailed(f"The answer of {server} is longer than {max_bytes} bytes; ask its owner.")
    return Document(answer.status_code, bytes(content))


async def consume(answer: httpx.Response, take: Callable[[bytes], Awaitable[bool]]) -> None:
    """Give every piece of a body to `take` until that gives False or raises.

    httpx reads a body through generators inside of generators, which must come to their end by themselves: leaving the
    loop would leave them to the garbage collector. So the connection is closed under them instead.
    """
    failure: BaseException | None = None
    is_done = False
    try:
        async for piece in answer.aiter_raw():
            if is_done:
                continue
            try:
                is_done = not await take(piece)
            except BaseException as error:
                failure, is_done = error, True
            if is_done:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_SECONDS):
                    await answer.aclose()
    except (httpx.TransportError, httpx.StreamError):
        if not is_done:
            raise
    if failure is not None:
        raise failure
