"""A coordinator that a test plays by hand: accepts WebSocket connections over memory streams or loopback sockets."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Self, TypeVar

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

import native
from protocol.codec import decode_from_provider, encode
from protocol.messages.from_provider import FromProvider, InferenceComplete, InferenceError, Register
from protocol.messages.to_provider import ToProvider
from protocol.sealing import parse_public_key
from provider.link.address import LinkAddress
from provider.link.timing import LinkTiming
from tests.testbed.sealed_asker import Heard, SealedAsker

M = TypeVar("M")


class Deafness(trio.abc.Stream):
    """Passes everything on until `is_deaf`; then nothing is read any more."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.is_deaf = False
        self.writes = 0
        self.stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self.is_deaf:
            await trio.sleep_forever()
        return await self.stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self.stream.aclose()


class FakeConnection:
    """One accepted connection; `messages` holds all frames in order, with the moment of each in `times`."""

    def __init__(self, socket: WebSocketConnection, stream: Deafness) -> None:
        self.messages: list[FromProvider] = []
        self.times: list[float] = []
        self.closed_code: int | None = None
        self.socket = socket
        self.stream = stream
        self._news = trio.Event()
        self._asker: SealedAsker | None = None
        self._over = False

    async def read(self) -> None:
        """Read until the end."""
        try:
            while True:
                message = await self.socket.get_message()
                assert isinstance(message, str), "frames are text"
                self.messages.append(decode_from_provider(message.encode()))
                self.times.append(trio.current_time())
                self._tell()
        except ConnectionClosed as closed:
            self.closed_code = None if closed.reason is None else closed.reason.code
        finally:
            self._over = True
            self._tell()

    async def send(self, message: ToProvider) -> None:
        """Send one frame."""
        await self.socket.send_message(encode(message).decode())

    async def send_text(self, text: str) -> None:
        """Send any text."""
        await self.socket.send_message(text)

    async def wait(self, kind: type[M], count: int = 1, where: Callable[[M], bool] = lambda _: True) -> M:
        """Wait for the `count`-th message of a kind."""
        while True:
            found = [message for message in self.messages if isinstance(message, kind) and where(message)]
            if len(found) >= count:
                return found[count - 1]
            assert not self._over, f"the connection ended before {kind.__name__} number {count}"
            await self._news.wait()

    async def wait_end(self) -> None:
        """Wait until the provider is gone."""
        while not self._over:
            await self._news.wait()

    def of(self, kind: type[M]) -> list[M]:
        """All messages of a kind so far."""
        return [message for message in self.messages if isinstance(message, kind)]

    async def asker(self) -> SealedAsker:
        """Who seals for this provider."""
        if self._asker is None:
            text = (await self.wait(Register)).public_key
            self._asker = SealedAsker(parse_public_key(text), text)
        return self._asker

    async def ask(self, request_id: str, body: Mapping[str, object], *, budget_ms: int = 0) -> None:
        """Send one inference request."""
        asker = await self.asker()
        await self.send(asker.request(request_id, body, budget_ms=budget_ms))

    async def answer(self, request_id: str) -> Heard:
        """Wait for the terminal of a request and give everything heard of it."""

        def ends(message: InferenceComplete | InferenceError) -> bool:
            return message.request_id == request_id

        await self.wait((InferenceComplete, InferenceError), where=ends)  # type: ignore[arg-type]
        return (await self.asker()).hear(self.messages)[request_id]

    async def close(self, code: int = 1000) -> None:
        """Close in order; the frame is written past the library, whose own close hangs when a ping crosses it."""
        await self.stream.send_all(native.encode_frame(native.OP_CLOSE, code.to_bytes(2, "big")))
        await self.wait_end()

    async def reset(self) -> None:
        """Drop the connection as a crash would."""
        await trio.aclose_forcefully(self.stream.stream)

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()


class FakeCoordinator:
    """Made by ``async with FakeCoordinator.open()``. `dial` is for `CoordinatorLink`; `url` for a whole daemon."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.connections: list[FakeConnection] = []
        self.dials: list[float] = []
        self.extra_headers: list[tuple[bytes, bytes]] = []
        self.refuse_with: int | None = None
        self.url = ""
        self._nursery = nursery
        self._news = trio.Event()

    @classmethod
    @asynccontextmanager
    async def open(cls, *, loopback: bool = False) -> AsyncIterator[Self]:
        """Run until the block ends; with `loopback` on a real port."""
        async with trio.open_nursery() as nursery:
            coordinator = cls(nursery)
            if loopback:
                listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
                coordinator.url = f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
                nursery.start_soon(trio.serve_listeners, coordinator.serve, listeners)
            yield coordinator
            nursery.cancel_scope.cancel()

    async def dial(self, _address: LinkAddress, _timing: LinkTiming) -> trio.abc.Stream:
        """Connect a client in memory."""
        self.dials.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        client, server = trio.testing.memory_stream_pair()
        self._nursery.start_soon(self.serve, server)
        return client

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Serve one connection."""
        listening = Deafness(stream)
        async with trio.open_nursery() as nursery:
            request = await wrap_server_stream(nursery, listening)
            if self.refuse_with is not None:
                await request.reject(self.refuse_with)
                nursery.cancel_scope.cancel()
                return
            connection = FakeConnection(await request.accept(extra_headers=self.extra_headers), listening)
            self.connections.append(connection)
            self._news.set()
            self._news = trio.Event()
            await connection.read()
            nursery.cancel_scope.cancel()

    async def connection(self, number: int = 1) -> FakeConnection:
        """Wait for the `number`-th connection."""
        while len(self.connections) < number:
            await self._news.wait()
        return self.connections[number - 1]
