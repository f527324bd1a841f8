"""Heads of answers: framing, what may not be in a header, and agreement with h11."""

from __future__ import annotations

import h11
import pytest

from server.listener.answer_head import Framing, answer_head


@pytest.mark.parametrize(
    ("status", "headers", "method", "version", "framing"),
    [
        (200, [(b"content-length", b"3")], b"GET", b"1.1", "counted"),
        (200, [], b"GET", b"1.1", "chunked"),
        (200, [], b"GET", b"1.0", "until_close"),
        (200, [(b"content-length", b"3")], b"HEAD", b"1.1", "none"),
        (204, [], b"GET", b"1.1", "none"),
        (304, [(b"content-length", b"3")], b"GET", b"1.1", "none"),
    ],
)
def test_body_is_framed_as_a_client_reads_it(
    status: int, headers: list[tuple[bytes, bytes]], method: bytes, version: bytes, framing: Framing
) -> None:
    head = answer_head(status, headers, method=method, version=version, closes=version == b"1.0")
    assert head.framing == framing
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())
    body = {"counted": b"abc", "chunked": b"3\r\nabc\r\n0\r\n\r\n", "until_close": b"abc", "none": b""}[framing]
    client.receive_data(head.raw + body)
    answer = client.next_event()
    assert isinstance(answer, h11.Response)
    assert answer.status_code == status
    if framing == "until_close":
        client.receive_data(b"")
    content = b""
    while not isinstance(event := client.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data)
        content += event.data
    assert content == (b"" if framing == "none" else b"abc")


@pytest.mark.parametrize(
    "header", [(b"x", b"a\r\nb: c"), (b"x", b"a\nb"), (b"x", b"\x00"), (b"x y", b"a"), (b"", b"a"), (b"x\r\n", b"a")]
)
def test_header_that_could_split_the_answer_is_an_error(header: tuple[bytes, bytes]) -> None:
    with pytest.raises(ValueError, match="header"):
        answer_head(200, [header], method=b"GET", version=b"1.1", closes=False)


def test_framing_and_connection_are_not_the_applications_to_say() -> None:
    given = [(b"transfer-encoding", b"gzip"), (b"connection", b"upgrade"), (b"date", b"never")]
    raw = answer_head(200, given, method=b"GET", version=b"1.1", closes=True).raw
    assert raw.count(b"date: ") == raw.count(b"transfer-encoding: ") == raw.count(b"connection: ") == 1
    assert raw.endswith(b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n")
