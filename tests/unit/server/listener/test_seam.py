"""The seam between our sockets and hypercorn, over real loopback connections: what the stock pair gets wrong."""

from __future__ import annotations

import json
import socket
from dataclasses import replace

import h11
import pytest
import trio

from .conftest import LIMITS, OpenDoor, read_to_end, read_until

BOTH = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


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


async def test_idle_http2_connection_is_closed_after_its_last_answer(open_door: OpenDoor) -> None:
    from .h2_client import H2Client

    async with open_door(tls=True, limits=replace(LIMITS, idle_seconds=0.3)) as door:
        client = await H2Client.open(door)
        assert await client.get("/hello") == (200, b"hello")
        await client.read_until_closed(seconds=2.0)


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


@pytest.mark.parametrize("stall", ["window", "socket"])
async def test_stalled_http2_reader_is_aborted(open_door: OpenDoor, stall: str) -> None:
    from .h2_client import H2Client

    limits = replace(LIMITS, write_deadline_seconds=0.3)
    async with open_door(tls=True, limits=limits, write_deadline_seconds=0.3) as door:
        client = await H2Client.open(door, window=65_535 if stall == "window" else 2**30)
        await client.request("/flood")
        with trio.fail_after(5):
            await door.seen.cancelled.wait()
        if stall == "window":  # the stream alone was reset; the connection still serves
            assert await client.read_until_reset() == "stream"
            assert await client.get("/hello") == (200, b"hello")
        else:
            assert await client.read_until_reset() == "connection"


async def test_stalled_http2_reader_of_an_ordinary_answer_is_aborted(open_door: OpenDoor) -> None:
    from .h2_client import H2Client

    async with open_door(tls=True, limits=replace(LIMITS, write_deadline_seconds=0.3)) as door:
        client = await H2Client.open(door, window=65_535)
        await client.request("/large")
        assert await client.read_until_reset() == "stream"
        assert await client.get("/hello") == (200, b"hello")


async def test_http2_answer_larger_than_every_buffer_arrives_whole(open_door: OpenDoor) -> None:
    from .h2_client import H2Client

    async with open_door(tls=True) as door:
        client = await H2Client.open(door, window=2**24)
        assert await client.get("/large") == (200, b"y" * 1_000_000)


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


async def test_broken_http2_answer_resets_its_stream_alone(open_door: OpenDoor) -> None:
    from .h2_client import H2Client

    async with open_door(tls=True) as door:
        client = await H2Client.open(door)
        await client.request("/abort")
        assert await client.read_until_reset() == "stream"
        assert await client.get("/hello") == (200, b"hello")


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


UPGRADE = (
    b"GET /ws/provider HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nX-Forwarded-For: 203.0.113.7\r\n\r\n"
)


@BOTH
@pytest.mark.parametrize("before", [0, 1, 2])
async def test_provider_upgrade_gets_the_raw_stream(open_door: OpenDoor, tls: bool, before: int) -> None:
    async with open_door(tls=tls) as door:
        stream = await door.connect()
        for _ in range(before):
            await stream.send_all(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
            await read_until(stream, b"hello")
        await stream.send_all(UPGRADE + b"early frame")
        assert (await read_until(stream, b"raw:early frame")).startswith(b"HTTP/1.1 101")
        head, leftover, ip = door.seen.links[0]
        assert head.get(b"sec-websocket-key") == b"dGhlIHNhbXBsZSBub25jZQ=="
        assert (leftover, ip) == (b"early frame", "203.0.113.7")


async def test_pipelined_provider_upgrade_waits_for_the_answer_before_it(open_door: OpenDoor) -> None:
    async with open_door() as door:
        stream = await door.connect()
        await stream.send_all(b"GET /stream/5 HTTP/1.1\r\nHost: x\r\n\r\n" + UPGRADE + b"zz")
        answer = await read_until(stream, b"raw:zz")
        assert answer.index(b"0\r\n\r\n") < answer.index(b"101 Switching")


async def test_plain_request_to_the_provider_path_is_an_ordinary_request(open_door: OpenDoor) -> None:
    async with open_door() as door:
        stream = await door.connect()
        await stream.send_all(b"GET /ws/provider HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"404" in await read_until(stream, b"\r\n\r\n")
        assert not door.seen.links


async def test_upgrade_offers_elsewhere_are_ignored(open_door: OpenDoor) -> None:
    async with open_door() as door:
        stream = await door.connect()
        for offer in (
            b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n",
            b"Upgrade: websocket\r\nConnection: Upgrade\r\n",
        ):
            await stream.send_all(b"GET /hello HTTP/1.1\r\nHost: x\r\n" + offer + b"\r\n")
            assert (await read_until(stream, b"hello")).startswith(b"HTTP/1.1 200")


async def test_provider_link_failure_stays_in_its_connection(open_door: OpenDoor) -> None:
    async def broken(*_: object) -> None:
        raise ValueError("link")

    async with open_door(link=broken, crashes_expected=True) as door:
        stream = await door.connect()
        await stream.send_all(UPGRADE)
        with pytest.raises(trio.BrokenResourceError):
            await read_to_end(stream)
        again = await door.connect()
        await again.send_all(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        await read_until(again, b"hello")
        assert [type(error) for error in door.seen.crashes] == [ValueError]


@BOTH
async def test_http2_serves_plain_and_streamed_answers_at_once(open_door: OpenDoor, tls: bool) -> None:
    from .h2_client import H2Client

    async with open_door(tls=tls) as door:
        client = await H2Client.open(door)
        slow = await client.request("/stream/20")
        assert await client.get("/hello") == (200, b"hello")
        status, body = await client.read_answer(slow)
        assert status == 200
        assert body.count(b"data: ") == 20


async def test_http2_path_that_is_none_is_not_found(open_door: OpenDoor) -> None:
    from .h2_client import H2Client

    async with open_door(tls=True) as door:
        client = await H2Client.open(door)
        assert (await client.get("http://[::1"))[0] == 404
        assert await client.get("/hello") == (200, b"hello")


async def test_http2_late_body_of_a_refused_upload_spares_the_connection(open_door: OpenDoor) -> None:
    from .h2_client import H2Client

    async with open_door(tls=True) as door:
        client = await H2Client.open(door)
        stream_id = await client.request("/refuse", method="POST", body=b"x" * 1000, end=False)
        assert (await client.read_answer(stream_id))[0] == 413
        await client.send_body(stream_id, b"y" * 1000)
        assert await client.get("/hello") == (200, b"hello")


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


async def test_forwarded_address_counts_only_from_trusted_proxies(open_door: OpenDoor) -> None:
    sent = b"GET /client HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n\r\n"
    async with open_door() as door:
        stream = await door.connect()
        await stream.send_all(sent)
        assert (await read_until(stream, b"https")).endswith(b"203.0.113.9 https")
    async with open_door(trusted=()) as door:
        stream = await door.connect()
        await stream.send_all(sent)
        assert (await read_until(stream, b"127.0.0.1 http")).endswith(b"127.0.0.1 http")


async def test_too_many_connections_are_closed_at_once(open_door: OpenDoor) -> None:
    async with open_door(limits=replace(LIMITS, max_connections_per_ip=2), trusted=()) as door:
        first, second = await door.connect(), await door.connect()
        await second.send_all(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        await read_until(second, b"hello")
        third = await door.connect()
        assert await read_to_end(third) == b""
        assert door.listener.refused_connections == 1
        await first.aclose()
        with trio.fail_after(2):
            while door.listener.open_connections > 1:
                await trio.sleep(0.01)
        fourth = await door.connect()
        await fourth.send_all(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        await read_until(fourth, b"hello")


async def test_close_ends_idle_connections_now_and_busy_ones_with_their_answer(open_door: OpenDoor) -> None:
    async with open_door() as door:
        idle, busy = await door.connect(), await door.connect()
        await idle.send_all(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        await read_until(idle, b"hello")
        await busy.send_all(b"GET /stream/30 HTTP/1.1\r\nHost: x\r\n\r\n")
        await read_until(busy, b"data: 1\n\n")
        await door.listener.close(grace_seconds=10)
        assert await read_to_end(idle, seconds=1) == b""
        assert (await read_to_end(busy, seconds=3)).endswith(b"data: 29\n\n\r\n0\r\n\r\n")
        with pytest.raises(OSError, match=r"127\.0\.0\.1"):
            await trio.open_tcp_stream("127.0.0.1", door.port)


async def test_close_ends_stuck_connections_after_the_grace(open_door: OpenDoor) -> None:
    async with open_door() as door:
        stuck = await door.connect()
        await stuck.send_all(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        await door.seen.streaming.wait()
        await door.listener.close(grace_seconds=0.2)
        with trio.fail_after(2):
            await door.seen.cancelled.wait()


async def test_consumer_and_provider_socket_options(open_door: OpenDoor) -> None:
    async with open_door() as door:
        connections: list[socket.socket] = []
        original = door.listener._serve_connection

        async def spy(connection: object) -> None:
            connections.append(connection.raw_socket)  # type: ignore[attr-defined]
            await original(connection)

        door.listener._serve_connection = spy
        stream = await door.connect()
        await stream.send_all(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        await read_until(stream, b"hello")
        sock = connections[0]
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == 32 * 1024
