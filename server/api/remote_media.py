"""Remote images and videos of a request: allowed or not before its money is reserved, fetched and inlined after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.api.errors import invalid_request
from server.media import check_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from protocol.api.media import MediaPart
    from server.api.bodies import Bodies
    from server.media import MediaFetcher
    from server.relay import RequestStamps


def remote_parts(parts: tuple[MediaPart, ...], fetcher: MediaFetcher | None, *, may_fetch: bool) -> list[MediaPart]:
    """The parts to fetch; nothing is opened yet. `may_fetch` is False where a connection of ours would tell too much.

    Raises ApiError 400 for a URL that is wrong, or may not be fetched, and for too many of them.
    """
    remote = [part for part in parts if part.remote]
    if not remote:
        return []
    if fetcher is None or not may_fetch:
        raise invalid_request(
            "Media is not fetched for this request; send the bytes as data:<type>;base64,<data>.",
            param="messages",
            code="remote_media_disabled",
        )
    if len(remote) > fetcher.limits.parts:
        raise invalid_request(
            f"At most {fetcher.limits.parts} remote images and videos fit in one request.",
            param="messages",
            code="too_many_media_parts",
        )
    for part in remote:
        check_url(part.url)
    return remote


class RemoteMedia:
    """A MediaStep of the relay; nothing changes unless everything was fetched."""

    def __init__(
        self,
        bodies: Bodies,
        parts: list[MediaPart],
        fetcher: MediaFetcher,
        *,
        stamps: RequestStamps,
        clock: Callable[[], float],
    ) -> None:
        self._bodies = bodies
        self._parts = parts
        self._fetcher = fetcher
        self._stamps = stamps
        self._clock = clock
        self.prompt_tokens_hold: int | None = None

    async def inline(self) -> None:
        """See MediaStep."""
        started = self._clock()
        inlined = await self._fetcher.fetch(self._parts)
        self._bodies.become(self._bodies.chat.with_inlined(inlined))
        self._stamps.media_seconds = self._clock() - started
        self.prompt_tokens_hold = self._bodies.chat.prompt_tokens_hold
