"""Fetches the remote media of one request: all of it or none, within bounds of size, time and number.

Owner: the request's own task; its nursery ends with the last fetch.
"""

from __future__ import annotations

import base64
import ssl
from typing import TYPE_CHECKING, Final

import trio

from protocol.api.errors import ApiError
from server.media.addresses import is_public
from server.media.dial import Dialler, SystemResolver, dial_tcp
from server.media.http_get import http_get
from server.media.limits import MediaLimits
from server.media.refusals import blocked, failed, invalid_type, kind_mismatch, too_busy, too_large, too_slow
from server.media.sniff import pixels, sniff
from server.media.url import check_url, follow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from protocol.api.media import MediaPart
    from server.media.dial import Dial, Resolve
    from server.media.url import MediaUrl

_MEGA: Final = 1_000_000


class MediaFetcher:
    """One per process. `blocked_domains` are refused with all names below them, at every redirect.

    `resolve` (the system's resolver by default) gives the addresses of a name, `is_allowed` judges them; every dial
    goes through both.
    """

    def __init__(
        self,
        limits: MediaLimits | None = None,
        *,
        blocked_domains: Iterable[str] = (),
        resolve: Resolve | None = None,
        dial: Dial = dial_tcp,
        is_allowed: Callable[[str], bool] = is_public,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.limits = limits or MediaLimits()
        self._blocked = frozenset(domain.lower().strip(".") for domain in blocked_domains)
        self._dialler = Dialler(
            resolve=resolve or SystemResolver(self.limits.global_concurrency),
            dial=dial,
            is_allowed=is_allowed,
            tls=tls,
        )
        self._places = trio.CapacityLimiter(self.limits.global_concurrency)

    async def fetch(self, parts: Sequence[MediaPart]) -> dict[MediaPart, str]:
        """Give a `data:` URL for each part; equal URLs are fetched once.

        Raises ApiError: 400 for what is no media, 403, 408, 413, 429, 502; the first failure ends the other fetches.
        """
        run = _Run(self, self._places, self._dialler)
        wanted: dict[str, list[MediaPart]] = {}
        for part in parts:
            wanted.setdefault(part.url, []).append(part)
        with trio.move_on_after(self.limits.total_seconds) as scope:
            async with trio.open_nursery() as nursery:
                for url in wanted:
                    nursery.start_soon(run.one, url, nursery.cancel_scope)
        if run.failure is not None:
            raise run.failure
        if scope.cancelled_caught or len(run.files) < len(wanted):
            raise too_slow()
        return {part: _data_url(run.files[url], part) for url, same in wanted.items() for part in same}

    def check_host(self, url: MediaUrl) -> None:
        """Raise ApiError 403 for a domain that is not asked."""
        labels = url.host.rstrip(".").split(".")
        if any(".".join(labels[start:]) in self._blocked for start in range(len(labels))):
            raise blocked()


class _Run:
    """The fetches of one request."""

    def __init__(self, fetcher: MediaFetcher, places: trio.CapacityLimiter, dialler: Dialler) -> None:
        self._fetcher = fetcher
        self._places = places
        self._dialler = dialler
        self._own = trio.CapacityLimiter(fetcher.limits.concurrency)
        self._total = 0
        self.files: dict[str, bytes] = {}
        self.failure: ApiError | None = None

    async def one(self, url: str, all_of_them: trio.CancelScope) -> None:
        """Fetch one URL; a failure is noted once and cancels the rest."""
        try:
            async with self._own:
                if self._places.statistics().tasks_waiting >= self._fetcher.limits.waiting:
                    raise too_busy()
                async with self._places:
                    self.files[url] = await self._bounded(url)
        except ApiError as error:
            if self.failure is None:
                self.failure = error
            all_of_them.cancel()

    async def _bounded(self, url: str) -> bytes:
        with trio.move_on_after(self._fetcher.limits.fetch_seconds):
            data = await self._followed(check_url(url))
            self._total += len(data)
            if self._total > self._fetcher.limits.total_bytes:
                raise too_large()
            if pixels(data) > self._fetcher.limits.megapixels * _MEGA:
                raise too_large()
            return data
        raise too_slow()

    async def _followed(self, url: MediaUrl) -> bytes:
        limits = self._fetcher.limits
        for _ in range(limits.redirects + 1):
            self._fetcher.check_host(url)
            stream = await self._dialler.connect(url)
            try:
                room = min(limits.file_bytes, limits.total_bytes - self._total)
                got = await http_get(stream, url, limit_bytes=room)
            finally:
                # A polite farewell could be waited for; nothing of this connection is needed any more.
                await trio.aclose_forcefully(stream)
            if got.location is None:
                return got.body
            url = follow(url, got.location)
        raise failed()


def _data_url(data: bytes, part: MediaPart) -> str:
    found = sniff(data)
    if found is None:
        raise invalid_type()
    if found.kind != part.kind:
        raise kind_mismatch()
    return f"data:{found.mime};base64,{base64.b64encode(data).decode()}"
