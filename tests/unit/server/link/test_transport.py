"""The byte seam: reads without a needless task switch, resets, streams of other kinds."""

from __future__ import annotations

import os
import socket
import ssl
import struct
from typing import Any

import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from server.link.transport import RECEIVE_BYTES, SocketTransport, StreamTransport, TransportLost, open_transport


async def tcp_pair() -> tuple[trio.SocketStream, trio.SocketStream]:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    near = await trio.testing.open_stream_to_socket_listener(listener)
    far = await listener.accept()
    await listener.aclose()
    return near, far


async def test_plain_tcp_is_read_directly_and_kept_alive() -> None:
    near, far = await tcp_pair()
    transport = open_transport(near)
    assert isinstance(transport, SocketTransport)
    assert near.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
    async with far:
        await far.send_all(b"hello")
        assert bytes(await transport.receive()) == b"hello"
        await far.send_all(b"again")
        assert bytes(await transport.receive()) == b"again"
        assert transport.waited
        await far.send_eof()
        assert bytes(await transport.receive()) == b""
        await transport.aclose()


async def test_full_reads_are_followed_up_without_waiting() -> None:
    near, far = await tcp_pair()
    transport = SocketTransport(near)
    async with far, trio.open_nursery() as nursery:
        nursery.start_soon(far.send_all, b"x" * (4 * RECEIVE_BYTES))
        got, waits = 0, []
        while got < 4 * RECEIVE_BYTES:
            got += len(await transport.receive())
            waits.append(transport.waited)
        assert not all(waits[1:]) or len(waits) == 1
        await transport.aclose()


async def test_abort_resets_the_peer_and_wakes_the_reader() -> None:
    near, far = await tcp_pair()
    transport = SocketTransport(near)
    async with far, trio.open_nursery() as nursery:

        async def read() -> None:
            with pytest.raises(TransportLost):
                await transport.receive()

        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        transport.abort()
        transport.abort()
        with pytest.raises(trio.BrokenResourceError):
            await far.receive_some(10)
    with pytest.raises(TransportLost):
        await transport.receive()
    with pytest.raises(TransportLost):
        transport.send_now(b"x")
    with pytest.raises(TransportLost):
        await transport.send_all(b"x")
    await transport.aclose()


async def test_a_reset_by_the_peer_is_lost() -> None:
    near, far = await tcp_pair()
    transport = SocketTransport(near)
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await far.aclose()
    with pytest.raises(TransportLost):
        await transport.receive()
    await transport.aclose()


async def test_other_streams_are_read_and_written_through_their_own_methods() -> None:
    near, far = memory_stream_pair()
    transport = open_transport(near)
    assert isinstance(transport, StreamTransport)
    assert transport.send_now(b"x") == 0
    await transport.send_all(b"there")
    assert bytes(await far.receive_some()) == b"there"
    await far.send_all(b"back")
    assert await transport.receive() == b"back"
    transport.abort()
    for call in (transport.receive, lambda: transport.send_all(b"x")):
        with pytest.raises(TransportLost):
            await call()
    await transport.aclose()
    assert await far.receive_some() == b""


async def test_a_lost_stream_is_lost() -> None:
    near, far = memory_stream_pair()
    transport = StreamTransport(near)
    await far.aclose()
    with pytest.raises(TransportLost):
        await transport.send_all(b"x")
    await transport.aclose()


async def test_descriptor_is_not_touched_after_close(autojump_clock: Any) -> None:
    near, far = await tcp_pair()
    transport = SocketTransport(near)
    number = near.socket.fileno()
    await transport.aclose()
    left, right = socket.socketpair()
    # The number is in use again, for another connection: the closed transport must neither write into it nor close it.
    spare = None
    if number not in (left.fileno(), right.fileno()):
        spare = os.dup2(left.fileno(), number)
    peer = left if right.fileno() == number else right
    with pytest.raises(TransportLost):
        transport.send_now(b"stray")
    transport.abort()
    peer.setblocking(False)
    with pytest.raises(BlockingIOError):
        peer.recv(1)
    assert os.fstat(number)
    if spare is not None:
        os.close(spare)
    left.close()
    right.close()
    await far.aclose()


async def test_abort_of_a_tls_stream_resets_the_socket_below() -> None:
    near, far = await tcp_pair()
    transport = open_transport(trio.SSLStream(near, ssl.create_default_context(), server_hostname="c"))
    assert isinstance(transport, StreamTransport)
    transport.abort()
    async with far:
        with pytest.raises(trio.BrokenResourceError):
            await far.receive_some(10)
    with pytest.raises(TransportLost):
        await transport.receive()
    await transport.aclose()
