"""The seam between our sockets and hypercorn, over real loopback connections: endings, idleness, stalls, breaks."""

from __future__ import annotations

import json
from dataclasses import replace

import h11
import pytest
import trio

from .conftest import BOTH, LIMITS, OpenDoor, read_to_end, read_until


@BOTH
@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /hello HTTP/1.0\r\nHost: x\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /stream/3 HTTP/1.0\r\nHost: x\r\n\r\n",
        b"GET /stream/3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc",
    ],
    ids=["http10", "close", "http10-stream", "close-stream", "close-post"],
)
async def test_closing_clients_get_eof_within_a_second(open_door: OpenDoor, tls: bool, request_bytes: bytes) -> None:
    async with open_door(tls=tls) as door:
        stream = await door.connect()
        await stream.send_all(request_bytes)
        answer = await read_to_end(stream, seconds=1.0)
        assert answer.startswith(b"HTTP/1.1 200")
        if b"/stream/" in request_bytes:
            assert b"data: 2\n\n" in answer


@BOTH
@pytest.mark.parametrize("requests_before", [0, 1, 3])
async def test_idle_connection_is_closed(open_door: OpenDoor, tls: bool, requests_before: int) -> None:
    limits = replace(LIMITS, idle_seconds=0.2, head_seconds=0.2)
    async with open_door(tls=tls, limits=limits) as door:
        stream = await door.connect()
        for _ in range(requests_before):
            await stream.send_all(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
            await read_until(stream, b"hello")
        assert await read_to_end(stream, seconds=2.0) == b""


@BOTH
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_stream_outlives_every_time_limit_of_the_framework(
    open_door: OpenDoor, tls: bool, version: bytes
) -> None:
    limits = replace(LIMITS, idle_seconds=0.1, head_seconds=0.1, write_deadline_seconds=0.1)
    async with open_door(tls=tls, limits=replace(limits, head_seconds=5.0), write_deadline_seconds=0.1) as door:
        stream = await door.connect()
        await stream.send_all(b"GET /stream/60 HTTP/" + version + b"\r\nHost: x\r\n\r\n")
        answer = await read_until(stream, b"data: 59\n\n")
        assert answer.count(b"data: ") == 60


async def test_quart_answer_timeout_is_off(open_door: OpenDoor) -> None:
    async with open_door() as door:
        app = door.listener._app.app
        assert app.config["RESPONSE_TIMEOUT"] is None


@BOTH
async def test_stalled_reader_is_aborted(open_door: OpenDoor, tls: bool) -> None:
    limits = replace(LIMITS, write_deadline_seconds=0.3)
    async with open_door(tls=tls, limits=limits, write_deadline_seconds=0.3) as door:
        stream = await door.connect()
        await stream.send_all(b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n")
        with trio.fail_after(5):
            await door.seen.cancelled.wait()
        with pytest.raises(trio.BrokenResourceError):
            await read_to_end(stream)


@BOTH
async def test_disconnect_cancels_the_request(open_door: OpenDoor, tls: bool) -> None:
    async with open_door(tls=tls) as door:
        stream = await door.connect()
        await stream.send_all(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        await door.seen.streaming.wait()
        await stream.aclose()
        with trio.fail_after(2):
            await door.seen.cancelled.wait()


@pytest.mark.parametrize("path", [b"/wait", b"/open"])
async def test_half_close_counts_as_disconnect(open_door: OpenDoor, path: bytes) -> None:
    async with open_door() as door:
        stream = await door.connect()
        await stream.send_all(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        await door.seen.streaming.wait()
        await stream.send_eof()
        with trio.fail_after(2):
            await door.seen.cancelled.wait()
        await read_to_end(stream, seconds=2)


@BOTH
@pytest.mark.parametrize("path", [b"/abort", b"/crash"])
async def test_broken_answer_resets_the_connection(open_door: OpenDoor, tls: bool, path: bytes) -> None:
    async with open_door(tls=tls, crashes_expected=path == b"/crash") as door:
        stream = await door.connect()
        await stream.send_all(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises(trio.BrokenResourceError):
            await read_to_end(stream)
        again = await door.connect()
        await again.send_all(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        await read_until(again, b"hello")


@BOTH
@pytest.mark.parametrize("path", [b"/crash-outside", b"/crash-behind-head"])
async def test_crash_outside_all_recovery_is_a_500_in_the_envelope(open_door: OpenDoor, tls: bool, path: bytes) -> None:
    async with open_door(tls=tls, crashes_expected=True) as door:
        stream = await door.connect()
        await stream.send_all(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        head, _, body = (await read_to_end(stream)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 500 ")
        assert b"\r\nx-request-id: abc123def456" in head
        assert b"\r\nrequest-id: abc123def456" in head
        assert b"\r\nconnection: close" in head
        error = json.loads(body)["error"]
        assert (error["type"], error["code"]) == ("internal_error", "internal_error")
        assert b"canary-value" not in body
        assert [type(error) for error in door.seen.crashes] == [ValueError]
        again = await door.connect()
        await again.send_all(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        await read_until(again, b"hello")


@BOTH
async def test_crash_outside_all_recovery_behind_the_first_bytes_resets(open_door: OpenDoor, tls: bool) -> None:
    async with open_door(tls=tls, crashes_expected=True) as door:
        stream = await door.connect()
        await stream.send_all(b"GET /crash-behind-bytes HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises(trio.BrokenResourceError):
            await read_to_end(stream)


@BOTH
async def test_another_task_may_write_through_on_a_reused_connection(open_door: OpenDoor, tls: bool) -> None:
    async with open_door(tls=tls) as door:
        stream = await door.connect()
        for _ in range(3):
            await stream.send_all(b"GET /through/400 HTTP/1.1\r\nHost: x\r\n\r\n")
            client = h11.Connection(h11.CLIENT)
            client.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
            client.send(h11.EndOfMessage())
            body = bytearray()
            while not isinstance(event := client.next_event(), h11.EndOfMessage):
                if event is h11.NEED_DATA:
                    client.receive_data(await stream.receive_some(65536))
                elif isinstance(event, h11.Data):
                    body += event.data
            assert body == b"".join(b"%05d," % number * 200 for number in range(400))
            assert client.trailing_data == (b"", False)


async def test_head_request_gets_no_body(open_door: OpenDoor) -> None:
    async with open_door() as door:
        stream = await door.connect()
        await stream.send_all(b"HEAD /stream/3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await read_to_end(stream)
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b"\r\n\r\n")
        assert b"data" not in answer
