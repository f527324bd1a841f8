"""Events of a provider, wherever it cut them into chunks."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.api import sse
from protocol.api.chunk_reader import MAX_HELD_BYTES, MAX_HELD_PIECES, MAX_LOOKED_AT, ChunkReader


def event(text: str, end: bytes = b"\n\n") -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}).encode() + end


def texts(reader: ChunkReader, *chunks: bytes) -> list[str | None]:
    return [choice.added().content for chunk in chunks for choice in reader.read(chunk)]


STREAM = (
    b": comment\n\n" + event("a") + event("b", b"\r\n\r\n") + b"event: x\r\nid: 1\r\n" + event("c\n\n", b"\r\r")
    + b'data: {"choices":\ndata: [{"index":0,"delta":{"content":"d"}}]}\n\n' + event("}") + b"data: [DONE]\n\n"
)  # fmt: skip
SAID = ["a", "b", "c\n\n", "d", "}"]


def test_a_stream_in_one_piece() -> None:
    reader = ChunkReader()
    assert texts(reader, STREAM) == SAID
    assert reader.ended
    assert reader.dropped_events == 0


def test_a_stream_cut_in_two_at_every_place() -> None:
    for place in range(len(STREAM) + 1):
        reader = ChunkReader()
        assert texts(reader, STREAM[:place], STREAM[place:]) == SAID, place
        assert reader.ended
        assert reader.dropped_events == 0, place


def test_a_stream_in_single_bytes() -> None:
    reader = ChunkReader()
    assert texts(reader, *(STREAM[place : place + 1] for place in range(len(STREAM)))) == SAID
    assert reader.ended


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_a_stream_cut_anywhere(places: list[int]) -> None:
    cuts = [0, *sorted(places), len(STREAM)]
    reader = ChunkReader()
    assert texts(reader, *(STREAM[one:two] for one, two in pairwise(cuts))) == SAID
    assert reader.ended
    assert reader.dropped_events == 0


def test_events_without_their_blank_line_are_whole() -> None:
    reader = ChunkReader()
    assert texts(reader, event("a", b""), event("b", b"\n"), b"data: [DONE]") == ["a", "b"]
    assert reader.ended


def test_only_an_event_of_its_own_is_alone() -> None:
    reader = ChunkReader()
    reader.read(event("a"))
    assert reader.alone
    reader.read(event("a") + event("b"))
    assert not reader.alone
    reader.read(event("a")[:9])
    assert not reader.alone
    reader.read(event("a")[9:])
    assert not reader.alone
    reader.read(event("a", b""))
    assert reader.alone


def test_garbage_is_counted_and_costs_nothing_else() -> None:
    reader = ChunkReader()
    assert texts(reader, b"data: {broken", event("a"), b"data: nonsense\n\n", event("b")) == ["a", "b"]
    assert reader.dropped_events == 2
    assert texts(reader, b'data: {"half', event("c", b"")) == ["c"]
    assert reader.dropped_events == 3


def test_an_event_that_never_ends_is_counted() -> None:
    reader = ChunkReader()
    assert reader.read(event("a")[:20]) == []
    assert reader.dropped_events == 1


@pytest.mark.parametrize("piece", [b"y" * 60, b"y" * 58 + b"}}", b"\ndata: " + b"y" * 53])
def test_looks_at_what_is_held_are_bounded(piece: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    split = sse.split_stream
    monkeypatch.setattr(sse, "split_stream", lambda text: looked.append(len(text)) or split(text))
    reader = ChunkReader()
    reader.read(b'data: {"x":"')
    while reader.dropped_events < 2:  # the one that is held, and then one that was given up
        reader.read(piece)
    assert sum(looked) <= MAX_LOOKED_AT
    assert texts(reader, event("a")) == ["a"]


def test_what_is_held_is_bounded() -> None:
    reader = ChunkReader()
    reader.read(b'data: {"x":"' + b"y" * MAX_HELD_BYTES)
    assert reader.dropped_events == 1
    assert texts(reader, event("a")) == ["a"]
    reader = ChunkReader()
    reader.read(b'data: {"x":"')
    for _ in range(MAX_HELD_PIECES):
        reader.read(b"y")
    assert reader.dropped_events == 1
    assert texts(reader, event("a")) == ["a"]
