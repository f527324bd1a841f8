"""The spout of a streamed answer: made when a descriptor is left, closed before the connection is reset."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import trio
from quart_trio import QuartTrio

from server.answer import AnswerAborted, AnswerWriter, StreamingAnswer, install_streaming
from server.listener import TRANSPORT_EXTENSION, AnswerTransport


class FakeConnection:
    """The parts of a connection that a direct answer uses, over one end of a socket pair."""

    def __init__(self, sock: socket.socket) -> None:
        self.raw_socket = sock
        self.send_now = sock.send

    async def wait_writable(self) -> None:
        await trio.lowlevel.wait_writable(self.raw_socket)

    def abort(self) -> None:
        self.raw_socket.close()


async def answer(near: socket.socket, produce: Any, abort: Any, crash_event: Any = None) -> None:
    """Run one streamed answer on the socket, without a server around it."""
    app = QuartTrio(__name__)
    install_streaming(app, write_deadline_seconds=5, body_seconds=5)

    @app.get("/")
    async def stream() -> StreamingAnswer:
        return StreamingAnswer(produce, headers={"Content-Type": "text/event-stream"}, crash_event=crash_event)

    connection: Any = FakeConnection(near)
    scope: Any = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"x")],
        "client": ("127.0.0.1", 1),
        "server": None,
        "extensions": {TRANSPORT_EXTENSION: AnswerTransport(connection, abort, direct=True)},
    }
    messages = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Any:
        if not messages:
            await trio.sleep_forever()
        return messages.pop()

    async def send(_event: Any) -> None:
        await trio.lowlevel.checkpoint()

    await app(scope, receive, send)


async def test_a_direct_answer_has_a_spout_until_it_ends() -> None:
    seen: list[Any] = []

    async def produce(writer: AnswerWriter) -> None:
        assert writer.spout is not None
        seen.append(writer.spout)
        await writer.write(b"hello")

    near, far = socket.socketpair()
    with far:
        near.setblocking(False)
        await answer(near, produce, None)
        near.close()
        assert far.recv(100) == b"5\r\nhello\r\n"
        assert far.recv(100) == b"", "nobody holds the socket any more"
    assert len(seen) == 1


async def test_an_aborted_answer_closes_its_spout_before_the_reset() -> None:
    near, far = socket.socketpair()
    ends: list[bytes] = []

    async def produce(_writer: AnswerWriter) -> None:
        raise AnswerAborted

    async def abort() -> None:
        near.close()
        ends.append(far.recv(1))

    with far:
        near.setblocking(False)
        far.setblocking(False)
        await answer(near, produce, abort)
    assert ends == [b""]


async def test_an_answer_without_a_spare_descriptor_has_no_spout(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(fd: int) -> None:
        raise OSError(fd, "no descriptor")

    monkeypatch.setattr("server.answer.open_spout.Spout", none_left)
    seen: list[object] = []

    async def produce(writer: AnswerWriter) -> None:
        seen.append(writer.spout)
        await writer.write(b"hello")

    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        await answer(near, produce, None)
        assert far.recv(100) == b"5\r\nhello\r\n"
    assert seen == [None]


async def test_a_crash_ends_with_the_event_of_the_dialect(caplog: pytest.LogCaptureFixture) -> None:
    async def produce(writer: AnswerWriter) -> None:
        await writer.write(b"hello")
        raise RuntimeError("a fault of ours")

    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        await answer(near, produce, None, crash_event=lambda: b"event: error\n\n")
        assert far.recv(100) == b"5\r\nhello\r\ne\r\nevent: error\n\n\r\n"
    assert "a streamed answer crashed" in caplog.text


async def test_a_crash_without_such_an_event_is_left_to_the_layers_outside() -> None:
    async def produce(writer: AnswerWriter) -> None:
        await writer.write(b"hello")
        raise RuntimeError("a fault of ours")

    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        with pytest.raises(ExceptionGroup) as caught:
            await answer(near, produce, None)
        assert caught.group_contains(RuntimeError, match="a fault of ours")
        assert far.recv(100) == b"5\r\nhello\r\n"
