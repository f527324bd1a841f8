"""One exchange without sockets to read: order of events, lengths, disconnects, and the bound on waiting parts."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from server.listener import Connection, ListenerLimits
from server.listener.exchange import MAX_WAITING_PARTS, Exchange
from server.listener.head import parse_head

HEAD = parse_head(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]}


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()


@pytest.fixture
def cancelled() -> trio.Event:
    """Set where the application would be cancelled."""
    return trio.Event()


@pytest.fixture
async def exchange(ends: tuple[socket.socket, socket.socket], cancelled: trio.Event) -> Exchange:
    connection = Connection(ends[0], peer="127.0.0.1", limits=ListenerLimits(), tls=None)
    return Exchange(connection, HEAD, closes=False, on_complete=lambda closes: None, cancel=cancelled.set)


def _body(content: bytes, *, more: bool = False) -> dict[str, object]:
    return {"type": "http.response.body", "body": content, "more_body": more}


async def test_answer_leaves_with_its_head(exchange: Exchange, ends: tuple[socket.socket, socket.socket]) -> None:
    exchange.push(b"123456789", last=True)
    await exchange.send(START)
    with pytest.raises(BlockingIOError):
        ends[1].recv(1)
    await exchange.send(_body(b"abc"))
    assert ends[1].recv(4096).endswith(b"\r\n\r\nabc")
    assert (exchange.complete, exchange.closes) == (True, False)


@pytest.mark.parametrize("content", [b"ab", b"abcd"])
async def test_body_of_another_length_is_an_error(exchange: Exchange, content: bytes) -> None:
    await exchange.send(START)
    with pytest.raises(RuntimeError, match="Content-Length"):
        await exchange.send(_body(content))


async def test_events_out_of_order_are_an_error(exchange: Exchange) -> None:
    with pytest.raises(RuntimeError):
        await exchange.send(_body(b"abc"))
    await exchange.send(START)
    with pytest.raises(RuntimeError):
        await exchange.send(START)


async def test_answer_before_the_end_of_the_body_closes(exchange: Exchange) -> None:
    exchange.push(b"1", last=False)
    await exchange.send(START)
    assert exchange.closes


async def test_answer_to_a_client_that_left_is_dropped(
    exchange: Exchange, ends: tuple[socket.socket, socket.socket]
) -> None:
    exchange.disconnect()
    await exchange.send(START)
    await exchange.send(_body(b"abc"))
    with pytest.raises(BlockingIOError):
        ends[1].recv(1)
    assert not exchange.started


async def test_pulled_events_come_in_order_and_end_with_the_disconnect(exchange: Exchange) -> None:
    exchange.push(b"1", last=False)
    exchange.push(b"2", last=True)
    exchange.disconnect()
    exchange.disconnect()
    kinds = [(event["type"], event.get("body")) for event in [await exchange.receive() for _ in range(4)]]
    gone = ("http.disconnect", None)
    assert kinds == [("http.request", b"1"), ("http.request", b"2"), gone, gone]


async def test_listener_gets_what_waited_and_what_comes(exchange: Exchange, cancelled: trio.Event) -> None:
    seen: list[bytes] = []
    exchange.push(b"1", last=False)
    exchange.listen(lambda event: seen.append(event["body"]))
    exchange.push(b"2", last=True)
    assert seen == [b"1", b"2"]
    assert not cancelled.is_set()
    exchange.disconnect()
    assert cancelled.is_set()


async def test_an_application_that_listens_after_the_client_left_is_cancelled(
    exchange: Exchange, cancelled: trio.Event
) -> None:
    exchange.push(b"1", last=True)
    exchange.disconnect()
    assert not cancelled.is_set()
    exchange.listen(lambda event: None)
    assert cancelled.is_set()


async def test_parts_that_nobody_pulls_are_bounded(exchange: Exchange, autojump_clock: trio.testing.MockClock) -> None:
    for _ in range(MAX_WAITING_PARTS):
        exchange.push(b"x", last=False)
    passed = trio.Event()

    async def wait() -> None:
        await exchange.wait_for_room()
        passed.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        assert not passed.is_set()
        await exchange.receive()
        await wait_all_tasks_blocked()
        assert passed.is_set()
