"""Ends of request bodies: examples, faults, and agreement with h11 under any split."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.listener.framing import ChunkedBody, CountedBody, FramingError, body_framer


def test_counted_body_takes_its_length_and_no_more() -> None:
    body = CountedBody(5)
    assert body.feed(bytearray(b"abc")) == 3
    assert not body.complete
    assert body.feed(bytearray(b"dexx")) == 2
    assert body.complete


def test_empty_counted_body_is_complete() -> None:
    assert body_framer(0).complete
    assert not body_framer(None).complete


@pytest.mark.parametrize(
    "encoded",
    [
        b"0\r\n\r\n",
        b"3\r\nabc\r\n0\r\n\r\n",
        b"3;name=value\r\nabc\r\nA \r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n",
        b"00003\r\nx\r\n\r\n0\r\n\n",
    ],
)
def test_chunked_body_ends_where_it_ends(encoded: bytes) -> None:
    for split in range(len(encoded) + 1):
        body = ChunkedBody()
        taken = body.feed(bytearray(encoded[:split]))
        assert taken == split
        rest = encoded[split:] + b"GET /next"
        assert body.feed(bytearray(rest)) == len(encoded) - split
        assert body.complete


@pytest.mark.parametrize("bad", [b"\r\n", b"x\r\n", b"-1\r\n", b"3\n", b"1" * 5000, b"f" * 21 + b"\r\n"])
def test_malformed_size_line_is_an_error(bad: bytes) -> None:
    with pytest.raises(FramingError):
        ChunkedBody().feed(bytearray(bad))


def test_endless_trailer_is_an_error() -> None:
    body = ChunkedBody()
    body.feed(bytearray(b"0\r\n"))
    with pytest.raises(FramingError):
        body.feed(bytearray(b"X: y\r\n" * 4000))


_BYTES = st.binary(max_size=40)


@st.composite
def chunked(draw: st.DrawFn) -> bytes:
    parts = []
    for data in draw(st.lists(st.binary(min_size=1, max_size=40), max_size=5)):
        size = draw(st.sampled_from([b"%x", b"%X", b"0%x", b"%x;ext=1", b"%x  "])) % len(data)
        parts.append(size + b"\r\n" + data + b"\r\n")
    trailer = draw(st.sampled_from([b"", b"A: b\r\n", b"A: b\r\nC: d\r\n"]))
    return b"".join(parts) + b"0\r\n" + trailer + b"\r\n"


@given(encoded=chunked(), rest=_BYTES, cuts=st.lists(st.integers(0, 200), max_size=6))
def test_end_is_where_h11_finds_it_for_any_split(encoded: bytes, rest: bytes, cuts: list[int]) -> None:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + encoded + rest)
    while not isinstance(connection.next_event(), h11.EndOfMessage):
        pass
    h11_rest = connection.trailing_data[0]

    wire = encoded + rest
    body = ChunkedBody()
    position = 0
    for cut in [*sorted(cut for cut in cuts if cut < len(wire)), len(wire)]:
        if not body.complete and cut > position:
            position += body.feed(bytearray(wire[position:cut]))
    assert body.complete
    assert wire[position:] == h11_rest == rest


@given(data=st.binary(max_size=200), cuts=st.lists(st.integers(0, 200), max_size=6))
def test_arbitrary_bytes_end_the_same_for_any_split(data: bytes, cuts: list[int]) -> None:
    def run(pieces: list[int]) -> tuple[str, int]:
        body, position = ChunkedBody(), 0
        try:
            for cut in pieces:
                if not body.complete:
                    position += body.feed(bytearray(data[position:cut]))
        except FramingError:
            return "error", 0
        return ("complete" if body.complete else "open"), position

    whole = run([len(data)])
    split = run([*sorted(min(cut, len(data)) for cut in cuts), len(data)])
    assert whole == split
