"""One request on an HTTP/1.1 connection and its answer: the ASGI face of it, without sockets to read.

Invariant: what leaves the connection for one exchange is a prefix of one valid answer; the body is what was announced.
Owner: the task that runs the application sends; the connection's reader pushes body parts and the disconnect.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import trio

from server.listener.answer_head import AnswerHead, Framing, answer_head
from server.listener.connection import SEND_SLICE_BYTES

if TYPE_CHECKING:
    from server.listener.connection import Connection
    from server.listener.head import RequestHead
    from server.listener.transport import RequestListener

# Body parts (of at most 64 KiB) that wait for an application which pulls them.
MAX_WAITING_PARTS: Final = 10

_DISCONNECT: Final = {"type": "http.disconnect"}


class Exchange:
    """Takes the events of one request and sends its answer; `closes` says whether the connection ends behind it.

    `cancel` cancels the application, once it listens.
    """

    def __init__(
        self,
        connection: Connection,
        head: RequestHead,
        *,
        closes: bool,
        on_complete: Callable[[bool], None],
        cancel: Callable[[], None],
    ) -> None:
        self.started = False
        self.complete = False
        self.closes = closes
        self.body_complete = False
        self.gone = False  # the client, or so the application was told
        self._connection = connection
        self._head = head
        self._on_complete = on_complete
        self._cancel = cancel
        self._framing: Framing = "none"
        self._left = 0
        self._held = b""  # the head, until the first bytes of the body
        self._events: deque[dict[str, Any]] = deque()
        self._moved: trio.Event | None = None  # while somebody waits
        self._listener: RequestListener | None = None

    def __repr__(self) -> str:
        return f"<Exchange started={self.started} complete={self.complete} closes={self.closes} gone={self.gone}>"

    # --- the request --------------------------------------------------------------------------------------------------

    def push(self, content: bytes, *, last: bool) -> None:
        """Take the next part of the request's body."""
        self.body_complete = last
        event = {"type": "http.request", "body": content, "more_body": not last}
        if self._listener is not None:
            self._listener(event)
        else:
            self._events.append(event)
            self._wake()

    async def wait_for_room(self) -> None:
        """Wait while the application has many parts to pull yet and is still there."""
        while len(self._events) >= MAX_WAITING_PARTS and not self.complete:
            await self._wait()

    def disconnect(self) -> None:
        """Tell the application that the client is gone, or cancel it where it listens. Idempotent."""
        if not self.gone and not self.complete:
            self.gone = True
            if self._listener is None:
                self._wake()
            else:
                self._cancel()

    def finish(self) -> None:
        """Note that the application is gone: nobody pulls any more."""
        self._listener = _ignore
        self._events.clear()
        self._wake()

    def listen(self, listener: RequestListener) -> None:
        """Push what comes of the body from now on; see RequestSource."""
        self._listener = listener
        while self._events:
            listener(self._events.popleft())
        self._wake()
        if self.gone:
            self._cancel()

    async def receive(self) -> dict[str, Any]:
        """Return the next event (ASGI); waits for it."""
        while not self._events:
            if self.gone or self.complete:
                return _DISCONNECT
            await self._wait()
        event = self._events.popleft()
        self._wake()
        return event

    async def _wait(self) -> None:
        if self._moved is None:
            self._moved = trio.Event()
        await self._moved.wait()

    def _wake(self) -> None:
        if self._moved is not None:
            self._moved.set()
            self._moved = None

    # --- the answer ---------------------------------------------------------------------------------------------------

    async def send(self, event: Any) -> None:
        """Send the next event of the answer (ASGI); what comes after the client left is dropped.

        Raises RuntimeError for events out of order or a body of another length than announced, ValueError for headers
        that cannot be sent.
        """
        if self.gone:
            await trio.lowlevel.checkpoint()  # where the cancellation of the application arrives
            return
        kind = event["type"]
        if kind == "http.response.start":
            self._start(event["status"], event.get("headers", ()))
        elif kind == "http.response.body" and self.started and not self.complete:
            await self._send_body(event.get("body", b""), more=event.get("more_body", False))
        else:
            raise RuntimeError(f"The answer cannot go on with {kind!r}.")

    def rewind(self) -> bool:
        """Forget a head that has not left yet; True when nothing was sent, so that another answer may begin."""
        if self.started and not self._held:
            return False
        self.started = False
        self._held = b""
        return not self.gone

    def _start(self, status: int, headers: Any) -> None:
        if self.started:
            raise RuntimeError("The answer has begun already.")
        # A body that is not read to its end leaves no place where the next request would begin.
        self.closes = self.closes or not self.body_complete
        head: AnswerHead = answer_head(
            status, headers, method=self._head.method, version=self._head.version, closes=self.closes
        )
        self._held, self._framing, self._left = head
        self.started = True

    async def _send_body(self, content: bytes, *, more: bool) -> None:
        data = self._held + self._framed(content, more=more)
        self._held = b""
        if data:
            await self._write(data)
            if more and content:
                await trio.lowlevel.checkpoint()
        if not more:
            self.complete = True
            self._wake()
            self._on_complete(self.closes)

    def _framed(self, content: bytes, *, more: bool) -> bytes:
        if self._framing == "chunked":
            part = b"%x\r\n%b\r\n" % (len(content), content) if content else b""
            return part if more else part + b"0\r\n\r\n"
        if self._framing == "counted":
            self._left -= len(content)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError("The body of the answer is not as long as its Content-Length says.")
        return b"" if self._framing == "none" else content

    async def _write(self, data: bytes) -> None:
        connection = self._connection
        try:
            if connection.direct and not connection.aborted and len(data) <= SEND_SLICE_BYTES:
                taken = connection.send_now(data)
                if taken == len(data):
                    return
                data = data[taken:]
        except BlockingIOError:
            pass
        except OSError:
            connection.abort()
        try:
            await connection.send_all(data)
        except trio.BrokenResourceError:
            self.closes = True
            self.disconnect()

    def abort_with(self, abort: Callable[[], None]) -> Callable[[], Awaitable[None]]:
        """Return how an answer is broken off: `abort` resets the connection."""

        async def aborted() -> None:
            self.closes = True
            abort()

        return aborted


def _ignore(_event: object) -> None:
    """Stand in for an application that is gone."""
