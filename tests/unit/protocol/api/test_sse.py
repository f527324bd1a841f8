"""Splitting and encoding server-sent events."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.api import sse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'data: {"a":1}\n\n', [b'{"a":1}']),
        (b'data: {"a":1}', [b'{"a":1}']),
        (b'data:{"a":1}\n\n', [b'{"a":1}']),
        (b"data: 1\r\n\r\ndata: 2\r\n\r\n", [b"1", b"2"]),
        (b"data: 1\r\rdata: 2", [b"1", b"2"]),
        (b": ping\n\ndata: 1\n\n", [b"1"]),
        (b"event: x\nid: 7\ndata: 1\n\n", [b"1"]),
        (b"data: 1\ndata: 2\n\n", [b"1\n2"]),
        (b"data:  two spaces\n\n", [b" two spaces"]),
        (b"data:\n\ndata: \n\n", []),
        (b"\n\n\r\n", []),
        (b"", []),
        (b"\xef\xbb\xbfdata: 1\n\n", [b"1"]),
        (b"data: [DONE]\n\n", [b"[DONE]"]),
    ],
)
def test_split_events_cases(text: bytes, expected: list[bytes]) -> None:
    assert sse.split_events(text) == expected


@given(
    st.lists(st.binary(min_size=1).filter(lambda raw: not set(raw) & {10, 13} and raw[:1] != b" "), max_size=5),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.booleans(),
)
def test_split_events_inverts_any_encoding(payloads: list[bytes], end: bytes, space: bool) -> None:
    head = b"data: " if space else b"data:"
    assert sse.split_events(b"".join(head + payload + end + end for payload in payloads)) == payloads


def test_encode_json_event_leaves_html_alone() -> None:
    assert sse.encode_json_event({"t": "<&>"}) == b'data: {"t":"<&>"}\n\n'
