"""The coordinator of the provider soak: it forgets each request when that has ended, however long the soak runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from random import Random
from typing import Self

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

from protocol.codec import decode_from_provider, encode
from protocol.messages.from_provider import (
    Heartbeat,
    InferenceComplete,
    InferenceError,
    InferenceResponseChunk,
    Register,
)
from protocol.messages.to_provider import Cancel, ToProvider
from protocol.sealing import parse_public_key
from tests.testbed.sealed_asker import SealedAsker

Outcome = InferenceComplete | InferenceError | None
MAX_FRAME = 16 * 1024 * 1024


class _Asked:
    """One request in flight."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.first = trio.Event()
        self.outcome: Outcome = None
        self.chunks = 0


class SoakCoordinator:
    """Made by `open`; `url` is for the provider."""

    def __init__(self) -> None:
        self.url = ""
        self.stray_terminals = 0
        self.capacity: Heartbeat | None = None
        self._socket: WebSocketConnection | None = None
        self._asker: SealedAsker | None = None
        self._registered = trio.Event()
        self._open = trio.Event()
        self._open.set()
        self._asked: dict[str, _Asked] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator[Self]:
        """Serve for the length of the block."""
        coordinator = cls()
        async with trio.open_nursery() as nursery:
            server = await nursery.start(
                lambda task_status: serve_websocket(
                    coordinator._serve, "127.0.0.1", 0, None, max_message_size=MAX_FRAME, task_status=task_status
                )
            )
            coordinator.url = f"ws://127.0.0.1:{server.port}"
            yield coordinator
            nursery.cancel_scope.cancel()

    @property
    def cached_bytes(self) -> int:
        """What the provider's allocator keeps for reuse, by its last heartbeat."""
        capacity = self.capacity.backend_capacity if self.capacity is not None else None
        return 0 if capacity is None else int(capacity.gpu_memory_cache_gb * 2**30)

    async def registered(self) -> None:
        """Wait until a provider is there."""
        await self._registered.wait()

    async def may_ask(self) -> None:
        """Wait until traffic is wanted and a provider is there."""
        await self._open.wait()
        await self._registered.wait()

    def pause(self) -> None:
        """Begin nothing new."""
        self._open = trio.Event()

    def resume(self) -> None:
        """Go on."""
        self._open.set()

    async def quiet(self, seconds: float, broken: list[str]) -> None:
        """Wait until nothing is in flight and the provider's heartbeat says the same."""
        with trio.move_on_after(seconds) as limit:
            while self._asked:
                await trio.sleep(0.05)
            self.capacity = None
            while self.capacity is None or not _is_idle(self.capacity):
                await trio.sleep(0.05)
        if limit.cancelled_caught:
            broken.append(f"not quiet: {len(self._asked)} requests in flight, heartbeat {self.capacity}"[:500])

    async def ask(self, request_id: str, body: Mapping[str, object], *, cancel: bool, rng: Random) -> Outcome:
        """Ask and give the terminal, or None when the connection was dropped meanwhile."""
        asker, asked = self._asker, _Asked()
        if asker is None:
            return None
        self._asked[request_id] = asked
        await self.send(asker.request(request_id, body))
        if cancel:
            with trio.move_on_after(rng.uniform(0, 0.5)):
                await asked.first.wait()
            await self.send(Cancel(request_id=request_id))
        await asked.done.wait()
        return asked.outcome

    async def send(self, message: ToProvider) -> None:
        """Send one frame; a connection that is gone swallows it."""
        if self._socket is not None:
            try:
                await self._socket.send_message(encode(message).decode())
            except ConnectionClosed:
                return

    async def drop(self) -> None:
        """End the connection; its requests end without a terminal."""
        socket, self._socket = self._socket, None
        self._asker = None
        self._registered = trio.Event()
        for asked in self._asked.values():
            asked.done.set()
        self._asked.clear()
        if socket is not None:
            with trio.move_on_after(1):
                await socket.aclose()

    async def _serve(self, request: WebSocketRequest) -> None:
        socket = await request.accept()
        try:
            while True:
                message = decode_from_provider((await socket.get_message()).encode())
                if isinstance(message, Register):
                    self._socket = socket
                    self._asker = SealedAsker(parse_public_key(message.public_key), message.public_key)
                    self._registered.set()
                elif socket is self._socket:
                    self._hear(message)
        except ConnectionClosed:
            return

    def _hear(self, message: object) -> None:
        match message:
            case Heartbeat():
                self.capacity = message
            case InferenceResponseChunk():
                if (asked := self._asked.get(message.request_id)) is not None:
                    asked.first.set()
            case InferenceComplete() | InferenceError():
                asked = self._asked.pop(message.request_id, None)
                if asked is None:
                    self.stray_terminals += 1
                    return
                asked.outcome = message
                asked.done.set()


def _is_idle(beat: Heartbeat) -> bool:
    capacity = beat.backend_capacity
    slots = () if capacity is None else capacity.slots
    return beat.status == "idle" and not any(slot.num_running or slot.num_waiting for slot in slots)
