"""Whole streams through the frame pump with splicing, against the same streams through the full path."""

from __future__ import annotations

import base64
import json
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import native
from native import pure
from protocol.api import ChatAnswer, ChatStream, UsageReport
from protocol.sealing import ProviderKeyPair, WipeableKey, seal_chunk

USAGE = UsageReport(prompt_tokens=1, completion_tokens=1)
KEYS = ProviderKeyPair.generate()
SHARED = WipeableKey.copied_from(bytes(range(32)))
PUMPS = {"chosen": native.Pump, "twin": pure.Pump}


def frame(plaintext: bytes, *, slashes: bool) -> bytes:
    text = base64.b64encode(base64.b64decode(seal_chunk(plaintext, SHARED))).decode()
    if slashes:
        text = text.replace("/", "\\/")
    payload = (
        '{"type":"inference_response_chunk","request_id":"r","encrypted_data":'
        f'{{"ephemeral_public_key":"{KEYS.public_text}","ciphertext":"{text}"}}}}'
    )
    return native.encode_frame(1, payload.encode(), mask=b"\x01\x02\x03\x04")


def content(text: str, style: int) -> bytes:
    quoted = json.dumps(text) if style == 0 else msgspec.json.encode(text).decode()
    if style == 2:
        quoted = quoted.replace("/", "\\/")
    return f'data: {{"id":"x","choices":[{{"index":0,"delta":{{"content":{quoted}}}}}]}}\n\n'.encode()


_TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('"\\/\n\x01\x7fé😀\u2028'), max_size=8)
_CHUNK = st.one_of(
    st.builds(content, _TEXT, st.integers(0, 2)),
    st.sampled_from(
        [
            b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}',
            b'data: {"choices":[{"index":0,"delta":{"reasoning_content":"hm"}}]}\r\n\r\n',
            b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"f"}}]}}]}',
            b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
            b"data: [DONE]\n\n",
            b"data: junk\n\n",
            b"",
        ]
    ),
)


Chat = ChatStream | ChatAnswer


def chat(*, streamed: bool) -> Chat:
    if streamed:
        return ChatStream(public_model="p", completion_id="chatcmpl-1", created=5, include_usage=True, requested_max=9)
    return ChatAnswer(public_model="p", completion_id="chatcmpl-1", created=5, requested_max=9)


def fed(target: Chat, plaintext: bytes) -> bytes:
    """The bytes that one chunk makes at once: none in an answer that is sent in one piece."""
    if isinstance(target, ChatStream):
        return b"".join(piece.ready for piece in target.feed(plaintext))
    target.feed(plaintext)
    return b""


def pumped(kind: str, fast: Chat, plaintexts: list[bytes], *, step: int, slashes: bool) -> tuple[bytes, int, int]:
    """What comes out of the pump and the full path together: bytes, deltas and text bytes."""
    pump = PUMPS[kind](max_message_bytes=1 << 20)
    pump.set_peer_key(KEYS.public_text.encode())
    pump.attach("r", SHARED.view(), "owner")
    wire = b"".join(frame(text, slashes=slashes) for text in plaintexts)
    out = b""
    spliced_deltas = spliced_bytes = 0
    for place in range(0, len(wire), step):
        for event, owner, payload, deltas, text_bytes in pump.feed(wire[place : place + step]):
            assert owner == "owner"
            if event == native.EV_OPENED:
                out += fed(fast, payload)
                pump.set_template("r", fast.template)
            elif isinstance(fast, ChatAnswer):
                assert event == native.EV_RUN
                fast.add_run(payload, deltas, text_bytes)
            else:
                assert event == native.EV_RUN
                spliced_deltas += deltas
                spliced_bytes += text_bytes
                out += payload
    pump.close()
    return out, fast.deltas + spliced_deltas, fast.text_bytes + spliced_bytes


@pytest.mark.parametrize("kind", PUMPS)
@settings(max_examples=80)
@given(st.lists(_CHUNK, max_size=14), st.integers(1, 400), st.booleans(), st.booleans())
def test_pump_with_splicing_equals_the_full_path(
    kind: str, plaintexts: list[bytes], step: int, slashes: bool, streamed: bool
) -> None:
    full, fast = chat(streamed=streamed), chat(streamed=streamed)
    expected = b"".join(fed(full, text) for text in plaintexts)
    found = pumped(kind, fast, plaintexts, step=step, slashes=slashes)
    assert found == (expected, full.deltas, full.text_bytes)
    assert fast.finish(USAGE) == full.finish(USAGE)


@pytest.mark.parametrize("kind", PUMPS)
@settings(max_examples=60)
@given(
    st.lists(_CHUNK.filter(lambda text: text.endswith(b"\n") and b"junk" not in text), min_size=1, max_size=10),
    st.lists(st.integers(0, 1000), max_size=8),
    st.booleans(),
)
def test_events_that_are_cut_anywhere_are_the_same_stream(
    kind: str, events: list[bytes], places: list[int], streamed: bool
) -> None:
    full, fast = chat(streamed=streamed), chat(streamed=streamed)
    expected = b"".join(fed(full, text) for text in events)
    # A chunk is UTF-8, so that the cuts are between characters; some are between events, where the pump may splice.
    text = b"".join(events).decode()
    borders = [len(b"".join(events[:count]).decode()) for count in range(len(events))]
    cuts = sorted({0, len(text), *borders[1::2], *(place % (len(text) + 1) for place in places)})
    chunks = [text[one:two].encode() for one, two in pairwise(cuts)]
    found = pumped(kind, fast, chunks, step=1000, slashes=False)
    assert found == (expected, full.deltas, full.text_bytes)
    assert fast.dropped_events == 0
    assert fast.finish(USAGE) == full.finish(USAGE)
