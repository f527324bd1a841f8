"""The hot-frame scanner: what it takes, what it leaves to the full decode, and agreement with a strict parser."""

from __future__ import annotations

import json
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from native.shapes import ChunkSpans
from tests.unit.native.chunk_frames import IMPLEMENTATIONS, chunk

PLAIN = chunk("r-1", b"QUJD", b"S0tL")
TYPE = b'"type":"inference_response_chunk"'
ID = b'"request_id":"r"'
SEALED = b'"encrypted_data":{"ephemeral_public_key":"K","ciphertext":"C"}'


def parts(data: bytes, spans: ChunkSpans) -> tuple[bytes, bytes, bytes]:
    """The three values that the spans point at."""
    return (
        data[spans.id_start : spans.id_end],
        data[spans.key_start : spans.key_end],
        data[spans.ct_start : spans.ct_end],
    )


def test_scan_chunk_gives_the_spans(native_impl: ModuleType) -> None:
    spans = native_impl.scan_chunk(PLAIN)
    assert isinstance(spans, ChunkSpans)
    assert parts(PLAIN, spans) == (b"r-1", b"S0tL", b"QUJD")
    assert spans.has_escapes is False
    assert native_impl.scan_chunk(memoryview(PLAIN)) == spans


@pytest.mark.parametrize(
    "data",
    [
        b"{" + b",".join([SEALED, ID, TYPE]) + b"}",
        b"{" + b",".join([TYPE, ID, b'"data":""', SEALED]) + b"}",
        b' {\n"type" : "inference_response_chunk" ,' + ID + b",\t" + SEALED + b"\r} \n",
        b"{" + TYPE + b',"request_id":"","encrypted_data":{"ciphertext":"C","ephemeral_public_key":""}}',
        b"{" + TYPE + b"," + ID + b',"encrypted_data":{ "ciphertext" :"C" , "ephemeral_public_key": "K" } }',
    ],
)
def test_scan_chunk_takes(native_impl: ModuleType, data: bytes) -> None:
    assert native_impl.scan_chunk(data) is not None


@pytest.mark.parametrize("value", [rb"A\/B", rb"\/", rb"\/\/x", rb"x\/"])
def test_scan_chunk_marks_escaped_slashes(native_impl: ModuleType, value: bytes) -> None:
    for data in (chunk("r", value, b"K"), chunk("r", b"C", value), chunk(value.decode(), b"C", b"K")):
        spans = native_impl.scan_chunk(data)
        assert spans is not None
        assert spans.has_escapes is True
        assert value in parts(data, spans)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        PLAIN[:-1],
        PLAIN + b"x",
        b"\xef\xbb\xbf" + PLAIN,
        PLAIN.replace(b"response", b"Response"),
        PLAIN.replace(b"chunk", b"chun\\/k"),
        PLAIN.replace(b'"type"', b'"Type"'),
        PLAIN.replace(b'"type"', b'"t\\u0079pe"'),
        PLAIN.replace(b"}}", b'},"data":"x"}'),
        PLAIN.replace(b"}}", b'},"data":null}'),
        PLAIN.replace(b"}}", b'},"data":"","data":""}'),
        PLAIN.replace(b"}}", b'},"extra":1}'),
        PLAIN.replace(b"}}", b',"data":""}}'),
        PLAIN.replace(b"}}", b"},}"),
        PLAIN.replace(b"}}", b",}}"),
        b"{" + TYPE + b"," + ID + b"}",
        b"{" + ID + b"," + SEALED + b"}",
        b"{" + TYPE + b"," + SEALED + b"}",
        b"{" + b",".join([TYPE, ID, ID, SEALED]) + b"}",
        b"{" + b",".join([TYPE, TYPE, ID, SEALED]) + b"}",
        b"{" + b",".join([TYPE, ID, SEALED, SEALED]) + b"}",
        b"{" + TYPE + b"," + ID + b',"encrypted_data":{"ephemeral_public_key":"K"}}',
        b"{" + TYPE + b"," + ID + b',"encrypted_data":{"ciphertext":"K"}}',
        b"{" + TYPE + b"," + ID + b',"encrypted_data":{}}',
        b"{" + TYPE + b"," + ID + b',"encrypted_data":null}',
        b"{" + TYPE + b',"request_id":7,' + SEALED + b"}",
        b"{" + TYPE + b"," + ID + b',"encrypted_data":{"ephemeral_public_key":"K","ciphertext":"C","ciphertext":"C"}}',
        b'{"type":"inference_response_chunk" "request_id":"r",' + SEALED + b"}",
        b'{"type" "inference_response_chunk",' + ID + b"," + SEALED + b"}",
        chunk("r", b"a\\u0041", b"K"),
        chunk("r", b"a\\", b"K"),
        chunk("r", b'a\\"', b"K"),
        chunk("r", b"a\x1f", b"K"),
        chunk("r", b"a\n", b"K"),
        chunk("é", b"C", b"K"),
        chunk("r", b"\x80", b"K"),
    ],
)
def test_scan_chunk_leaves_to_the_full_decode(native_impl: ModuleType, data: bytes) -> None:
    assert native_impl.scan_chunk(data) is None


def test_scan_chunk_every_prefix_is_unsure(native_impl: ModuleType) -> None:
    for end in range(len(PLAIN)):
        assert native_impl.scan_chunk(PLAIN[:end]) is None


@pytest.mark.parametrize("length", range(24))
@pytest.mark.parametrize("bad", [b'"', b"\\", b"\x1f", b"\x80", b"\xff", b"\x00"])
def test_scan_chunk_sees_a_bad_byte_at_every_place(native_impl: ModuleType, length: int, bad: bytes) -> None:
    value = b"x" * length
    assert native_impl.scan_chunk(chunk("r", value, b"K")) is not None
    for place in range(length + 1):
        assert native_impl.scan_chunk(chunk("r", value[:place] + bad + value[place:], b"K")) is None


_PIECES = st.lists(
    st.sampled_from(
        [
            TYPE, ID, SEALED, b'"data":""', b",", b"{", b"}", b" ", b":", b'"request_id"', b'"', b"\\/", b"\\", b"\n",
            b'"encrypted_data"', b'"ephemeral_public_key":"a\\/b"', b'"ciphertext":"CC"', b"\xc3\xa9", b"x", b"1",
        ]
    ),
    max_size=10,
)  # fmt: skip


@st.composite
def _mutants(draw: st.DrawFn) -> bytes:
    members = draw(st.permutations([TYPE, ID, SEALED, b'"data":""']))
    data = b"{" + b",".join(members) + b"}"
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + b"".join(draw(_PIECES)[:2]) + data[at + draw(st.integers(0, 3)) :]
    return data


@given(data=_mutants() | _PIECES.map(b"".join))
def test_scan_chunk_agrees_with_the_twin_and_with_a_parser(data: bytes) -> None:
    answers = {module.scan_chunk(data) for module in IMPLEMENTATIONS}
    assert len(answers) == 1
    spans = answers.pop()
    if spans is None:
        return
    message = json.loads(data, object_pairs_hook=lambda pairs: pairs)
    outer = dict(message)
    inner = dict(outer["encrypted_data"])
    assert len(outer) == len(message)
    assert outer["type"] == "inference_response_chunk"
    assert outer.get("data", "") == ""
    read = [part.replace(b"\\/", b"/").decode() for part in parts(data, spans)]
    assert read == [outer["request_id"], inner["ephemeral_public_key"], inner["ciphertext"]]
