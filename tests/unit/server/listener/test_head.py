"""Request heads: what is accepted, what is refused, and that h11 agrees."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.listener.head import HeadRefused, find_head_end, parse_head, skip_blank_lines


def test_parse_reads_method_target_version_and_headers() -> None:
    head = parse_head(b"POST /a?b=c HTTP/1.1\r\nHost:  x \r\nX-Two: 1\r\nx-two:2\r\nContent-Length: 5\r\n\r\n")
    assert (head.method, head.target, head.path, head.version) == (b"POST", b"/a?b=c", b"/a", b"1.1")
    assert head.get(b"host") == b"x"
    assert head.all(b"x-two") == [b"1", b"2"]
    assert head.get(b"absent") is None
    assert head.content_length == 5


@pytest.mark.parametrize(
    ("headers", "length"),
    [
        (b"", 0),
        (b"Content-Length: 0\r\n", 0),
        (b"Content-Length: 7\r\nContent-Length: 7\r\n", 7),
        (b"Transfer-Encoding: Chunked\r\n", None),
    ],
)
def test_body_length(headers: bytes, length: int | None) -> None:
    assert parse_head(b"POST / HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n").content_length == length


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET / HTTP/1.1 \r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n folded: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nNo colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: b\x00\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: +5\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 1234567890123456789\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"CONNECT a:1 HTTP/1.1\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET http://[::1 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http:// HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http://a:x/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ],
)
def test_bad_head_is_refused_with_its_status(raw: bytes, status: int) -> None:
    with pytest.raises(HeadRefused) as caught:
        parse_head(raw)
    assert caught.value.status == status
    assert str(caught.value).endswith(".")


def test_http2_preface_is_recognised() -> None:
    assert parse_head(b"PRI * HTTP/2.0\r\n\r\n").is_http2_preface


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"GET /ws/provider HTTP/1.1\r\nHost: x\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\n\r\n", True),
        (
            b"GET /ws/provider?v=1 HTTP/1.1\r\nHost: x\r\nupgrade: websocket\r\n"
            b"connection: keep-alive, Upgrade\r\n\r\n",
            True,
        ),
        (b"POST /ws/provider HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", False),
        (b"GET /ws/providers HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", False),
        (b"GET /ws/provider HTTP/1.0\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", False),
        (b"GET /ws/provider HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", False),
        (b"GET /ws/provider HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n", False),
        (
            b"GET /ws/provider HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
            b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            False,
        ),
    ],
)
def test_provider_upgrade_is_recognised(raw: bytes, expected: bool) -> None:
    assert parse_head(raw).is_provider_upgrade is expected


@pytest.mark.parametrize(
    ("sent", "target"),
    [
        (b"GET http://a:80/b?c=d", b"/b?c=d"),
        (b"GET https://[::1]", b"/"),
        (b"GET /http://a", b"/http://a"),
        (b"OPTIONS *", b"*"),
    ],
)
def test_target_is_kept_or_brought_to_path_and_query(sent: bytes, target: bytes) -> None:
    assert parse_head(sent + b" HTTP/1.1\r\nHost: a\r\n\r\n").target == target


def test_old_http_needs_no_host() -> None:
    assert parse_head(b"GET / HTTP/1.0\r\n\r\n").closes


def test_find_head_end_works_across_pieces() -> None:
    raw = b"GET / HTTP/1.1\r\nHost: x\r\n\r\nbody"
    for searched in range(len(raw) - 6):
        assert find_head_end(bytearray(raw), searched) == len(raw) - 4
    assert find_head_end(bytearray(raw[:-5])) is None


def test_skip_blank_lines_stops_at_the_request_line() -> None:
    buffer = bytearray(b"\r\n\n\r\nGET")
    skip_blank_lines(buffer)
    assert buffer == b"GET"
    buffer = bytearray(b"\r")
    skip_blank_lines(buffer)
    assert buffer == b"\r"


_LINES = st.sampled_from(
    [
        b"Host: x",
        b"Content-Length: 5",
        b"Content-Length: 05",
        b"Content-Length: 5,5",
        b"Content-Length: -1",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: CHUNKED",
        b"Transfer-Encoding: identity",
        b"A:b",
        b"A : b",
        b" A: b",
        b"A:",
        b"A: \xff\xfe",
        b"A: b\tc ",
        b"A: b\rc",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"",
    ]
)


@given(
    first=st.sampled_from([b"GET / HTTP/1.1", b"POST /x HTTP/1.0", b"GET /\xff HTTP/1.1", b"get * HTTP/1.1", b"X"]),
    lines=st.lists(_LINES, max_size=5),
    ending=st.sampled_from([b"\r\n", b"\n"]),
)
def test_what_is_accepted_h11_accepts_with_the_same_body_length(
    first: bytes, lines: list[bytes], ending: bytes
) -> None:
    raw = ending.join([first, *lines, b"", b""])
    end = find_head_end(bytearray(raw))
    assert end is not None
    try:
        head = parse_head(raw[:end])
    except HeadRefused:
        return
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(head.raw)
    event = connection.next_event()
    assert isinstance(event, h11.Request)
    body = connection.next_event()
    if head.content_length == 0:
        assert isinstance(body, h11.EndOfMessage)
    else:
        assert body is h11.NEED_DATA
        framing = {name for name, _ in event.headers} & {b"content-length", b"transfer-encoding"}
        assert framing == ({b"transfer-encoding"} if head.content_length is None else {b"content-length"})
