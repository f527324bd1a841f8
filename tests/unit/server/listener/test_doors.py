"""Who comes in, over real loopback connections: provider upgrades, forwarded addresses, too many, and closing time."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest
import trio

from .conftest import BOTH, LIMITS, OpenDoor, read_to_end, read_until

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
