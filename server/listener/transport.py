"""What an application may know and do about the connection under one request; found in the ASGI scope's extensions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

if TYPE_CHECKING:
    from server.listener.connection import Connection

# Where an application finds its `AnswerTransport` in the ASGI scope's extensions.
TRANSPORT_EXTENSION: Final = "darkbloom.transport"

RequestListener: TypeAlias = Callable[[Any], None]
"""Called with each `http.request` event of a request, in order; synchronous, raises nothing."""


class RequestSource(Protocol):
    """A request whose body can be pushed instead of pulled with `receive`."""

    def listen(self, listener: RequestListener) -> None:
        """Hand over the parts that wait, and from now on each as it comes; a client that leaves cancels the call."""


class AnswerTransport:
    """The connection under one answer; `source` is None where events can only be pulled."""

    __slots__ = ("_abort", "connection", "direct", "source")

    def __init__(
        self,
        connection: Connection,
        abort: Callable[[], Awaitable[None]],
        *,
        direct: bool,
        source: RequestSource | None = None,
    ) -> None:
        self.connection = connection
        self.direct = direct
        self.source = source
        self._abort = abort

    async def abort(self) -> None:
        """End the answer as broken: reset the connection, or on HTTP/2 this answer's stream alone."""
        await self._abort()
