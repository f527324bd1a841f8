"""Templates: what the pump splices equals what the full path writes, for every text."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from native import SpliceTemplate
from native.pure.splice import splice
from protocol.api import ChatAnswer, ChatStream, UsageReport
from protocol.api.splice import MAX_DERIVATIONS

USAGE = UsageReport(prompt_tokens=1, completion_tokens=1)


def stream() -> ChatStream:
    return ChatStream(public_model="p", completion_id="chatcmpl-1", created=5, include_usage=True, requested_max=9)


def template_of(plaintext: bytes) -> SpliceTemplate | None:
    """The template of a stream that got this chunk first."""
    target = stream()
    target.feed(plaintext)
    return target.template


def answer() -> ChatAnswer:
    return ChatAnswer(public_model="p", completion_id="chatcmpl-1", created=5, requested_max=9)


def shaped(quoted: str, *, role: bool = False, head: str = "data: ", end: str = "\n\n") -> bytes:
    start = '"role":"assistant",' if role else ""
    return (
        f'{head}{{"id":"chatcmpl-a","created":1,"choices":[{{"index":0,"delta":{{{start}"content":{quoted}}},'
        f'"finish_reason":null}}],"usage":null}}{end}'
    ).encode("utf-8", "surrogatepass")


ENCODERS = (
    lambda text: msgspec.json.encode(text).decode(),
    lambda text: json.dumps(text, ensure_ascii=False),
    json.dumps,
    lambda text: json.dumps(text, ensure_ascii=False).replace("/", "\\/"),
    lambda text: json.dumps(text).replace("\\u00e9", "\\u00E9"),
)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('"\\/\n\x01\x1f\x7fé😀\u2028'), max_size=12)


@given(
    st.lists(st.tuples(_TEXT, st.sampled_from(range(len(ENCODERS)))), min_size=1, max_size=8),
    st.booleans(),
    st.sampled_from(["data: ", "data:", ": c\ndata: "]),
    st.sampled_from(["", "\n", "\r\n\r\n"]),
)
def test_spliced_stream_equals_the_full_path(texts: list[tuple[str, int]], role: bool, head: str, end: str) -> None:
    full, fast = stream(), stream()
    expected, actual = b"", b""
    deltas = text_bytes = 0
    for text, encoder in texts:
        plaintext = shaped(ENCODERS[encoder](text), role=role, head=head, end=end)
        expected += b"".join(piece.ready for piece in full.feed(plaintext))
        spliced = splice(plaintext, fast.template) if fast.template is not None else None
        if spliced is None:
            actual += b"".join(piece.ready for piece in fast.feed(plaintext))
        else:
            actual += spliced.ready
            deltas += 1
            text_bytes += spliced.text_bytes
    assert actual == expected
    assert (fast.deltas + deltas, fast.text_bytes + text_bytes) == (full.deltas, full.text_bytes)
    assert actual + fast.finish(USAGE) == expected + full.finish(USAGE)


@given(st.lists(st.tuples(_TEXT, st.sampled_from(range(len(ENCODERS)))), min_size=1, max_size=8))
def test_spliced_answer_equals_the_full_path(texts: list[tuple[str, int]]) -> None:
    full, fast = answer(), answer()
    for text, encoder in texts:
        plaintext = shaped(ENCODERS[encoder](text))
        full.feed(plaintext)
        spliced = splice(plaintext, fast.template) if fast.template is not None else None
        if spliced is None:
            fast.feed(plaintext)
        else:
            fast.add_run(spliced.ready, 1, spliced.text_bytes)
    assert fast.finish(USAGE) == full.finish(USAGE)
    assert (fast.deltas, fast.text_bytes) == (full.deltas, full.text_bytes)


def test_template_appears_after_a_plain_delta_and_splices() -> None:
    target = stream()
    assert target.template is None
    target.feed(shaped('"Hi"'))
    template = target.template
    assert template is not None
    assert splice(shaped('"a\\/b"'), template) is not None
    assert splice(shaped('""'), template) is None


@pytest.mark.parametrize(
    "plaintext",
    [
        b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}',
        b'data: {"choices":[{"index":0,"delta":{"content":"a","reasoning":"b"},"finish_reason":null}]}',
        b'data: {"choices":[{"index":0,"delta":{"reasoning":"b"},"finish_reason":null}]}',
        b'data: {"choices":[{"index":0,"delta":{"content":"a"},"logprobs":{"content":[]}}]}',
        b'data: {"choices":[{"index":0,"delta":{"content":"a","tool_calls":[{"id":"x"}]}}]}',
        b'data: {"choices":[{"index":0,"delta":{"content":""}}]}',
        b'data: {"choices":[{"index":0,"delta":{"content":"\\u00e9"}}]}',
        b'data: {"choices":[{"index":0,"message":{"content":"a"}}]}',
        b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\ndata: {"choices":[]}',
        b"data: [DONE]",
        b"junk",
    ],
)
def test_no_template_for_anything_but_a_plain_delta(plaintext: bytes) -> None:
    assert template_of(plaintext) is None


def test_text_that_stands_elsewhere_too_is_found_by_probing() -> None:
    plaintext = b'data: {"id":"Hi","model":"Hi","choices":[{"index":0,"delta":{"content":"Hi"},"x":"Hi"}]}'
    template = template_of(plaintext)
    assert template is not None
    assert template.in_prefix.endswith(b'"content":"')


def test_duplicate_key_uses_the_place_that_counts() -> None:
    plaintext = b'data: {"choices":[{"index":0,"delta":{"content":"Hi","content":"Hi"}}]}'
    template = template_of(plaintext)
    assert template is not None
    assert template.in_suffix == b'"}}]}'


def test_template_follows_a_new_shape_but_not_for_ever() -> None:
    target = stream()
    for number in range(MAX_DERIVATIONS + 5):
        target.feed(b'data: {"created":%d,"choices":[{"index":0,"delta":{"content":"x"}}]}' % number)
    assert target.template is not None
    assert b'"created":%d,' % (MAX_DERIVATIONS - 1) in target.template.in_prefix
