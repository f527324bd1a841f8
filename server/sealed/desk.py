"""Where sealed bodies are opened: the keys in use, the bound of a body, the check for repetitions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from protocol.api.errors import ApiError, payload_too_large
from server.sealed.envelope import open_envelope

if TYPE_CHECKING:
    from server.sealed.exchange import SealedExchange
    from server.sealed.keys import KeyRing
    from server.sealed.replay import ReplayWindow

INLINE_BYTES: Final = 256 * 1024
"""A larger body is opened in a thread, where it delays nobody."""


class SealingDesk:
    """Opens bodies of at most `most_bytes`; without keys it opens nothing."""

    def __init__(self, ring: KeyRing | None, *, replays: ReplayWindow, most_bytes: int) -> None:
        self.ring = ring
        self._replays = replays
        self._most_bytes = most_bytes

    async def open(self, body: bytes) -> tuple[bytes, SealedExchange]:
        """Give the plaintext and what seals its answer.

        Raises ApiError: 503 without a key, 413 above the bound, 400 for what does not open or came before.
        """
        if self.ring is None:
            raise encryption_unavailable()
        if len(body) > self._most_bytes:
            raise payload_too_large(self._most_bytes)
        if len(body) <= INLINE_BYTES:
            opened = open_envelope(body, self.ring)
        else:
            opened = await trio.to_thread.run_sync(open_envelope, body, self.ring)
        if not self._replays.is_new(opened.mark):
            opened.exchange.close()
            text = "This sealed body was sent before; seal each request anew, with a key pair of its own."
            raise ApiError(400, "replayed_request", text)
        return opened.plaintext, opened.exchange


def encryption_unavailable() -> ApiError:
    """503: this coordinator has no key."""
    text = "This coordinator has no encryption key; send the request as plain JSON over HTTPS."
    return ApiError(503, "encryption_unavailable", text, retryable=False)
