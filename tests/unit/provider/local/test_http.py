"""HTTP over memory streams: keep-alive, slow and hostile clients, answers that break off."""

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from provider.local import http_server
from provider.local.http_server import BodyTooLarge, Streamed, Whole, serve_connection
from provider.local.options import LocalOptions, is_allowed_host, is_own_origin
from provider.local.token import TokenUnusable, is_same_token, load_or_create_token


def on_fault(_path, error):
    return Whole(413 if isinstance(error, BodyTooLarge) else 500, b"fault")


async def exchange(nursery, handler, data, *, max_body=1000):
    """Send bytes, end the sending side, and give all that comes back."""
    client, server = trio.testing.memory_stream_pair()
    nursery.start_soon(lambda: serve_connection(server, handler, on_fault, max_body=max_body))
    await client.send_all(data)
    return client


async def read_until(client, mark):
    got = b""
    while mark not in got:
        piece = await client.receive_some()
        if not piece:
            break
        got += piece
    return got


async def echo(request):
    return Whole(200, request.body or request.path.encode(), (("X-Method", request.method),))


async def test_requests_of_one_connection_are_answered_in_order(nursery, autojump_clock):
    first = b"POST /a%20b?q=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
    second = b"GET /second HTTP/1.1\r\nHost: x\r\n\r\n"
    client = await exchange(nursery, echo, first + second)
    got = await read_until(client, b"/second")
    assert got.count(b"HTTP/1.1 200") == 2
    assert got.index(b"hi") < got.index(b"/second")


async def test_the_path_is_decoded_and_has_no_query(nursery, autojump_clock):
    client = await exchange(nursery, echo, b"GET /a%20b?q=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await read_until(client, b"/a b")).endswith(b"/a b")


async def test_a_body_beyond_the_bound_ends_the_connection(nursery, autojump_clock):
    client = await exchange(nursery, echo, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n" + b"x" * 1500)
    got = await read_until(client, b"fault")
    assert got.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in got.lower()


async def test_a_client_that_waits_for_leave_gets_it(nursery, autojump_clock):
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    client = await exchange(nursery, echo, head)
    assert b"100" in await client.receive_some()
    await client.send_all(b"ok")
    assert b"ok" in await read_until(client, b"ok")


async def test_a_crashed_handler_is_answered_without_its_text(nursery, autojump_clock, caplog):
    async def broken(request):
        raise ValueError("CANARY")

    client = await exchange(nursery, broken, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    got = await read_until(client, b"fault")
    assert got.startswith(b"HTTP/1.1 500")
    assert b"CANARY" not in got
    assert "CANARY" not in caplog.text


async def test_an_answer_that_breaks_has_no_end_mark(nursery, autojump_clock):
    async def broken(request):
        async def produce(send):
            await send(b"part")
            raise ValueError

        return Streamed(produce)

    client = await exchange(nursery, broken, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    got = await read_until(client, b"never")
    assert b"part" in got
    assert not got.endswith(b"0\r\n\r\n")


async def test_a_streamed_answer_ends_properly(nursery, autojump_clock):
    async def fine(request):
        async def produce(send):
            await send(b"a")
            await send(b"")
            await send(b"b")

        return Streamed(produce)

    client = await exchange(nursery, fine, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await read_until(client, b"0\r\n\r\n")).endswith(b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    ("data", "seconds"),
    [(b"", http_server.IDLE_SECONDS), (b"GET / HT", http_server.IDLE_SECONDS)],
)
async def test_a_silent_client_is_left(autojump_clock, data, seconds):
    async with trio.open_nursery() as nursery:
        client = await exchange(nursery, echo, data)
        assert await client.receive_some() == b""
        assert trio.current_time() == pytest.approx(seconds, abs=1)


async def test_a_body_that_never_comes_is_not_waited_for(autojump_clock):
    async with trio.open_nursery() as nursery:
        client = await exchange(nursery, echo, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx")
        assert await client.receive_some() == b""
        assert trio.current_time() == pytest.approx(http_server.BODY_SECONDS, abs=1)


async def test_a_client_that_leaves_cancels_the_handler(autojump_clock):
    ended = trio.Event()

    async def slow(request):
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    async with trio.open_nursery() as nursery:
        client = await exchange(nursery, slow, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await trio.testing.wait_all_tasks_blocked()
        assert not ended.is_set()
        await client.aclose()
        with trio.fail_after(5):
            await ended.wait()


@given(st.binary(max_size=400))
def test_no_bytes_break_the_server(data):
    async def main():
        async with trio.open_nursery() as nursery:
            client, server = trio.testing.memory_stream_pair()
            nursery.start_soon(lambda: serve_connection(server, echo, on_fault, max_body=100))
            await client.send_all(data)
            await client.send_eof()
            with trio.fail_after(500):
                while await client.receive_some():
                    pass

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost:8000", True),
        ("127.0.0.1", True),
        ("127.9.9.9:1", True),
        ("[::1]:8000", True),
        ("box.lan:8000", True),
        ("10.1.2.3:8000", True),
        ("192.168.1.5:8000", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("", False),
    ],
)
def test_hosts_that_may_be_named(host, allowed):
    assert is_allowed_host(host, LocalOptions(bind="10.1.2.3", hosts=("box.lan",))) is allowed
    if host.startswith("192."):
        assert not is_allowed_host(host, LocalOptions())


@pytest.mark.parametrize(
    ("origin", "own"),
    [("http://localhost:3000", True), ("https://127.0.0.1", True), ("https://evil.example", False), ("null", False)],
)
def test_origins_of_this_machine(origin, own):
    assert is_own_origin(origin) is own


def test_the_token_is_made_once_and_kept_private(tmp_path):
    path = tmp_path / "home" / "local_token"
    token = load_or_create_token(path)
    assert token.startswith("dk-local-")
    assert len(token) == len("dk-local-") + 43
    assert load_or_create_token(path) == token
    assert is_same_token(token, token)
    assert not is_same_token(token + "é", token)
    path.chmod(0o644)
    with pytest.raises(TokenUnusable, match="chmod 600"):
        load_or_create_token(path)
    path.chmod(0o600)
    path.write_text("nonsense")
    with pytest.raises(TokenUnusable, match="holds no token"):
        load_or_create_token(path)
