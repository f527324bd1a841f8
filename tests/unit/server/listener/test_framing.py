"""Ends and content of request bodies: examples, faults, and agreement with h11 under any split."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.listener.framing import ChunkedBody, CountedBody, FramingError, body_framer


def test_counted_body_takes_its_length_and_no_more() -> None:
    body = CountedBody(5)
    assert body.take(bytearray(b"abc")) == b"abc"
    assert not body.complete
    buffer = bytearray(b"dexx")
    assert body.take(buffer) == b"de"
    assert body.complete
    assert buffer == b"xx"


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
        buffer = bytearray(encoded[:split])
        body.take(buffer)
        assert not buffer
        buffer += encoded[split:] + b"GET /next"
        body.take(buffer)
        assert body.complete
        assert buffer == b"GET /next"


@pytest.mark.parametrize("bad", [b"\r\n", b"x\r\n", b"-1\r\n", b"3\n", b"1" * 5000, b"f" * 21 + b"\r\n"])
def test_malformed_size_line_is_an_error(bad: bytes) -> None:
    with pytest.raises(FramingError):
        ChunkedBody().take(bytearray(bad))


@pytest.mark.parametrize(
    "bad", [b"3\r\nabcd\r\n", b"3\r\nabc\n\r", b"0\r\nno colon\r\n\r\n", b"0\r\nA: b\r\n c\r\n\r\n"]
)
def test_malformed_data_end_or_trailer_is_an_error(bad: bytes) -> None:
    with pytest.raises(FramingError):
        ChunkedBody().take(bytearray(bad))


def test_endless_trailer_is_an_error() -> None:
    body = ChunkedBody()
    body.take(bytearray(b"0\r\n"))
    with pytest.raises(FramingError):
        body.take(bytearray(b"X: y\r\n" * 4000))


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
    content = b""
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        if isinstance(event, h11.Data):
            content += event.data
    h11_rest = connection.trailing_data[0]

    wire = encoded + rest
    body, found, buffer, position = ChunkedBody(), b"", bytearray(), 0
    for cut in [*sorted(cut for cut in cuts if cut < len(wire)), len(wire)]:
        buffer += wire[position:cut]
        position = cut
        if not body.complete:
            found += body.take(buffer)
    assert body.complete
    assert found == content
    assert buffer == h11_rest == rest


@given(data=st.binary(max_size=200), cuts=st.lists(st.integers(0, 200), max_size=6))
def test_arbitrary_bytes_end_the_same_for_any_split(data: bytes, cuts: list[int]) -> None:
    def run(pieces: list[int]) -> tuple[str, bytes, bytes]:
        body, found, buffer, position = ChunkedBody(), b"", bytearray(), 0
        try:
            for cut in pieces:
                buffer += data[position:cut]
                position = max(position, cut)
                if not body.complete:
                    found += body.take(buffer)
        except FramingError:
            return "error", b"", b""
        return ("complete" if body.complete else "open"), found, bytes(buffer)

    whole = run([len(data)])
    split = run([*sorted(min(cut, len(data)) for cut in cuts), len(data)])
    assert whole == split
