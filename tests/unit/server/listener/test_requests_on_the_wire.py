"""What clients send, over real loopback connections: pipelined requests, uploads, stray bytes, heads that are none."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from .conftest import BOTH, LIMITS, OpenDoor, read_to_end, read_until


@BOTH
@pytest.mark.parametrize("path", [b"/stream/20", b"/hello"])
async def test_pipelined_requests_are_answered_in_order(open_door: OpenDoor, tls: bool, path: bytes) -> None:
    async with open_door(tls=tls) as door:
        stream = await door.connect()
        one = b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n"
        post = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        last = b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        await stream.send_all(one + one + post + last)
        answer = await read_to_end(stream)
        assert answer.count(b"HTTP/1.1 200") == 4
        if path != b"/hello":
            assert answer.count(b"data: 19\n\n") == 2
        assert answer.index(b"abc") < answer.rindex(b"hello")


@BOTH
@pytest.mark.parametrize(
    "stray", [b"\r\n\r\n", b"garbage\r\n\r\n", b"x" * 2_000_000], ids=["blank", "garbage", "flood"]
)
@pytest.mark.parametrize("headers", [b"", b"Connection: close\r\n"], ids=["keep-alive", "close"])
async def test_stray_bytes_do_not_break_a_running_answer(
    open_door: OpenDoor, tls: bool, stray: bytes, headers: bytes
) -> None:
    async with open_door(tls=tls) as door:
        stream = await door.connect()

        async def send_stray() -> None:
            try:
                await stream.send_all(stray)
            except trio.BrokenResourceError:
                pass

        await stream.send_all(b"GET /stream/30 HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_stray)
            answer = await read_until(stream, b"data: 29\n\n")
            answer += await read_until(stream, b"0\r\n\r\n")
            nursery.cancel_scope.cancel()
        assert answer.count(b"data: ") == 30


@pytest.mark.parametrize("stray", [b"garbage", b"x" * 2_000_000], ids=["few", "flood"])
@BOTH
async def test_stray_bytes_do_not_hide_a_disconnect(open_door: OpenDoor, tls: bool, stray: bytes) -> None:
    async with open_door(tls=tls) as door:
        stream = await door.connect()
        await stream.send_all(b"GET /open HTTP/1.1\r\nHost: x\r\n\r\n")
        await read_until(stream, b"first")
        await stream.send_all(stray)
        await trio.aclose_forcefully(stream)
        with trio.fail_after(3):
            await door.seen.cancelled.wait()


@BOTH
async def test_early_refusal_reaches_an_uploading_client(open_door: OpenDoor, tls: bool) -> None:
    async with open_door(tls=tls) as door:
        stream = await door.connect()
        await stream.send_all(b"POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n" + b"x" * 100_000)
        answer = await read_to_end(stream)
        assert answer.startswith(b"HTTP/1.1 413")
        assert b"connection: close\r\n" in answer
        assert answer.endswith(b"too much")


@BOTH
async def test_answer_before_the_body_says_that_it_closes(open_door: OpenDoor, tls: bool) -> None:
    async with open_door(tls=tls) as door:
        stream = await door.connect()
        await stream.send_all(b"POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        answer = await read_to_end(stream)
        assert answer.startswith(b"HTTP/1.1 413")
        assert b"connection: close\r\n" in answer


async def test_bad_chunk_behind_a_begun_answer_breaks_it_off(open_door: OpenDoor) -> None:
    async with open_door() as door:
        stream = await door.connect()
        await stream.send_all(b"GET /open HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        await read_until(stream, b"first")
        await stream.send_all(b"zz\r\n")
        with pytest.raises(trio.BrokenResourceError):
            await read_to_end(stream)
        with trio.fail_after(3):
            await door.seen.cancelled.wait()


async def test_upload_in_small_pieces_arrives_whole(open_door: OpenDoor) -> None:
    async with open_door() as door:
        stream = await door.connect()
        body = bytes(range(256)) * 40
        head = b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
        for start in range(0, len(head), 7):
            await stream.send_all(head[start : start + 7])
        assert b"100" in await read_until(stream, b"\r\n\r\n")
        for start in range(0, len(body), 1000):
            await stream.send_all(body[start : start + 1000])
        assert (await read_until(stream, body[-300:])).endswith(body)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /hello HTTP/1.1\r\nHost: x\r\n", b"408"),
        (b"GET /hello HTTP/1.1\r\nX: " + b"a" * 17_000, b"431"),
        (b"GET /hello\r\n\r\n", b"400"),
        (b"GET /hello HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /hello HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", b"400"),
        (b"GET http://[::1 HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc", b"400"),
        (b"GET /hello HTTP/1.1\r\nHost : x\r\n\r\n", b"400"),
        (b"GET /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", b"400"),
        (b"CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n", b"405"),
        (b"GET / HTTP/3.0\r\nHost: x\r\n\r\n", b"505"),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", b"501"),
    ],
    ids=[
        "slow",
        "large",
        "no-version",
        "no-host",
        "hosts",
        "target",
        "chunk",
        "space",
        "smuggle",
        "connect",
        "version",
        "coding",
    ],
)
@pytest.mark.parametrize("reused", [False, True], ids=["first", "later"])
async def test_bad_head_is_answered_and_closed(open_door: OpenDoor, sent: bytes, status: bytes, reused: bool) -> None:
    async with open_door(limits=replace(LIMITS, head_seconds=0.2)) as door:
        stream = await door.connect()
        if reused:
            await stream.send_all(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
            await read_until(stream, b"hello")
        await stream.send_all(sent)
        answer = await read_to_end(stream, seconds=2)
        assert answer.startswith(b"HTTP/1.1 " + status)
        assert b'{"error":{"message":"' in answer
        assert b"X-Request-ID: abc123def456\r\n" in answer


async def test_silent_client_is_closed_without_an_answer(open_door: OpenDoor) -> None:
    async with open_door(limits=replace(LIMITS, head_seconds=0.2)) as door:
        stream = await door.connect()
        assert await read_to_end(stream, seconds=2) == b""


async def test_malformed_chunked_body_is_refused_and_closed(open_door: OpenDoor) -> None:
    async with open_door() as door:
        stream = await door.connect()
        await stream.send_all(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc")
        assert (await read_to_end(stream)).startswith(b"HTTP/1.1 400")
