"""A small HTTP/2 client over trio and the h2 library, with a window that can be left closed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import h2.config
import h2.connection
import h2.events
import h2.settings
import trio

if TYPE_CHECKING:
    from .conftest import Door


@dataclass
class _Answer:
    status: int = 0
    body: bytearray = field(default_factory=bytearray)
    ended: bool = False
    reset: bool = False


class H2Client:
    def __init__(self, stream: trio.abc.Stream, window: int) -> None:
        self._stream = stream
        self._open_window = window == 2**20
        self._connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self._connection.local_settings[h2.settings.SettingCodes.INITIAL_WINDOW_SIZE] = window
        self._answers: dict[int, _Answer] = {}
        self._window = window

    @classmethod
    async def open(cls, door: Door, *, window: int = 2**20) -> H2Client:
        client = cls(await door.connect(alpn="h2"), window)
        client._connection.initiate_connection()
        client._connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        client._connection.increment_flow_control_window(2**30)
        await client._flush()
        return client

    async def request(self, path: str, *, method: str = "GET", body: bytes = b"", end: bool = True) -> int:
        stream_id = self._connection.get_next_available_stream_id()
        headers = [(":method", method), (":path", path), (":scheme", "https"), (":authority", "localhost")]
        self._connection.send_headers(stream_id, headers, end_stream=end and not body)
        self._answers[stream_id] = _Answer()
        if body:
            self._connection.send_data(stream_id, body, end_stream=end)
        await self._flush()
        return stream_id

    async def send_body(self, stream_id: int, body: bytes) -> None:
        self._connection.send_data(stream_id, body, end_stream=True)
        await self._flush()

    async def get(self, path: str) -> tuple[int, bytes]:
        return await self.read_answer(await self.request(path))

    async def read_answer(self, stream_id: int) -> tuple[int, bytes]:
        answer = self._answers[stream_id]
        with trio.fail_after(5):
            while not answer.ended:
                assert not answer.reset
                assert await self._read(), "the connection ended"
        return answer.status, bytes(answer.body)

    async def read_until_reset(self) -> str:
        """Return whether a "stream" was reset or the "connection"."""
        with trio.fail_after(5):
            while not any(answer.reset for answer in self._answers.values()):
                try:
                    if not await self._read():
                        return "connection"
                except trio.BrokenResourceError:
                    return "connection"
        return "stream"

    async def read_until_closed(self, *, seconds: float) -> None:
        with trio.fail_after(seconds):
            while await self._read():
                pass

    async def _read(self) -> bool:
        data = await self._stream.receive_some(65536)
        if not data:
            return False
        for event in self._connection.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                headers = {bytes(name): bytes(value) for name, value in event.headers}
                self._answers[event.stream_id].status = int(headers[b":status"])
            elif isinstance(event, h2.events.DataReceived):
                self._answers[event.stream_id].body += event.data
            elif isinstance(event, h2.events.StreamEnded):
                self._answers[event.stream_id].ended = True
            elif isinstance(event, h2.events.StreamReset):
                self._answers[event.stream_id].reset = True
        await self._flush()
        return True

    async def _flush(self) -> None:
        data = self._connection.data_to_send()
        if data:
            await self._stream.send_all(data)
