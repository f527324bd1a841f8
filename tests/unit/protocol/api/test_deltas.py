"""A provider's chunks read into plain deltas."""

from __future__ import annotations

from typing import Any

import msgspec

from protocol.api.deltas import CallFragment, Delta, DeltaReader


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    return b"data: " + msgspec.json.encode({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


def test_what_one_delta_adds_in_order() -> None:
    reader = DeltaReader("abc")
    calls = [
        {"index": 4, "function": {"name": "f", "arguments": "{"}},
        {"index": 4, "function": {"name": "again", "arguments": "}"}},
    ]
    given = {"role": "assistant", "reasoning": "é", "content": "t", "refusal": "r", "tool_calls": calls}
    (found,) = reader.read(chunk(given))
    fragments = (CallFragment(0, "call_abc_0", "f", "{"), CallFragment(0, "", "", "}"))
    assert found == Delta("é", "t", "r", fragments)
    assert found.text_bytes == 2 + 1 + 1 + 3
    assert (reader.call_count, reader.reasoned, reader.ended) == (1, True, False)


def test_plain_text_leaves_a_template_and_its_shape_is_recognised() -> None:
    reader = DeltaReader("abc")
    assert reader.read(chunk({"role": "assistant", "content": ""})) == []
    before = reader.input_template
    assert before is None
    assert reader.read(chunk({"content": "first"})) == [Delta(text="first")]
    template = reader.input_template
    assert template is not None
    assert (template.out_prefix, template.out_suffix) == (b"", b"")
    assert reader.read(chunk({"content": 'sec"ond'})) == [Delta(text='sec"ond')]


def test_ends_and_junk_are_noted() -> None:
    reader = DeltaReader("abc")
    assert reader.read(b"data: junk\n\n" + chunk({"content": "x"}, "length") + b"\n\ndata: [DONE]\n\n") == [
        Delta(text="x")
    ]
    assert (reader.dropped_events, reader.reported_reason, reader.ended) == (1, "length", True)
    finished = DeltaReader("abc")
    assert finished.read(b"data: [DONE]\n\n") == []
    assert finished.ended


def test_think_blocks_are_split_and_flushed() -> None:
    reader = DeltaReader("abc", split_think=True)
    assert reader.read(chunk({"content": "<think>a</think>b<"})) == [Delta(reasoning="a", text="b")]
    assert reader.input_template is None
    assert reader.flush() == [Delta(text="<")]
    assert reader.reasoned
    assert DeltaReader("abc").flush() == []
