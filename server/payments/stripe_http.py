"""How the Stripe library reaches the network: one httpx client on trio, with a time limit and few connections.

The library's own httpx transport passes bodies in a way that httpx has deprecated, and takes any exception for a fault
of the network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NoReturn

import httpx
import stripe
import trio

from protocol.authorities import trusted_authorities

TIMEOUT_SECONDS: Final = 30
_connection_failed: Callable[..., Exception] = stripe.APIConnectionError
_LIMITS: Final = httpx.Limits(max_connections=32, max_keepalive_connections=4, keepalive_expiry=30)


class StripeHttp(stripe.HTTPClient):
    """The transport of the library's `*_async` methods; there are no others. `transport` replaces the network."""

    name = "httpx"

    def __init__(self, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        super().__init__()
        self._httpx = httpx.AsyncClient(
            timeout=TIMEOUT_SECONDS, limits=_LIMITS, transport=transport, verify=trusted_authorities()
        )

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: str | bytes | None = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Send one request; raises stripe.APIConnectionError when no whole answer came."""
        try:
            answer = await self._httpx.request(method, url, headers=headers, content=post_data)
        except httpx.HTTPError as error:
            # The library repeats what is marked so, as far as the call lets it.
            text = f"The connection to Stripe failed with {type(error).__name__}."
            raise _connection_failed(text, should_retry=True) from None
        return answer.content, answer.status_code, answer.headers

    async def sleep_async(self, secs: float) -> None:
        """Wait between the library's own attempts."""
        await trio.sleep(secs)

    async def close_async(self) -> None:
        """Close the connections."""
        await self._httpx.aclose()

    def request(self, method: str, url: str, headers: object, post_data: object = None, **_more: object) -> NoReturn:
        """Refuse: a blocking call would stop the whole coordinator."""
        raise RuntimeError(f"{method} was called without its _async form; use the _async form.")

    def close(self) -> None:
        """Nothing is open outside the asynchronous client."""
