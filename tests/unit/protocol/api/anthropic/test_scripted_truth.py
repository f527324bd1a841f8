"""Random scripts of a provider, read back with the official SDK and compared with the truth, spliced and not."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import native
from native import pure
from protocol.api import UsageReport
from protocol.api.anthropic import MessagesDialect
from protocol.api.shapes import AnswerFacts
from protocol.sealing import ProviderKeyPair, WipeableKey, seal_chunk
from tests.unit.protocol.api.anthropic.sdk_reader import read_answer, read_stream, shown

if TYPE_CHECKING:
    from anthropic.types import Message

FACTS = AnswerFacts(job_id="a-b", public_model="p", created=5, requested_max=100, prompt_tokens=3)
USAGE = UsageReport(prompt_tokens=3, completion_tokens=2)
KEYS = ProviderKeyPair.generate()
SHARED = WipeableKey.copied_from(bytes(range(32)))
PUMPS = {"chosen": native.Pump, "twin": pure.Pump}

_TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('"\\/\n\x01é😀\u2028'), max_size=6)
_INPUT = st.dictionaries(_TEXT, _TEXT | st.integers(-(2**53), 2**53) | st.none(), max_size=3)


class Call(NamedTuple):
    """One tool call with its arguments in pieces."""

    name: str
    given: dict[str, Any]
    pieces: list[str]


@st.composite
def calls(draw: st.DrawFn) -> Call:
    given = draw(_INPUT)
    text = json.dumps(given, ensure_ascii=draw(st.booleans()))
    step = draw(st.integers(1, len(text)))
    return Call(draw(st.sampled_from("fgh")), given, [text[at : at + step] for at in range(0, len(text), step)])


_PARTS = st.lists(
    st.one_of(st.tuples(st.just("content"), _TEXT), st.tuples(st.just("reasoning_content"), _TEXT), calls()),
    max_size=8,
)


def deltas(parts: list[Any]) -> list[dict[str, Any]]:
    """The provider's deltas: calls numbered, the first fragment with id and name."""
    found: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    number = 0
    for part in parts:
        if not isinstance(part, Call):
            found.append({part[0]: part[1]})
            continue
        for place, piece in enumerate(part.pieces):
            fragment: dict[str, Any] = {"index": number, "function": {"arguments": piece}}
            if place == 0:
                fragment |= {"id": f"c{number}", "function": {"name": part.name, "arguments": piece}}
            found.append({"tool_calls": [fragment]})
        number += 1
    return found


def plaintexts(parts: list[Any]) -> list[bytes]:
    found = [
        b"data: " + msgspec.json.encode({"choices": [{"index": 0, "delta": delta}]}) + b"\n\n"
        for delta in deltas(parts)
    ]
    return [*found, b"data: [DONE]\n\n"]


def truth(parts: list[Any]) -> tuple[str, str, list[tuple[str, Any]]]:
    """(thinking, text, calls) of a script."""
    said = [part for part in parts if not isinstance(part, Call)]
    return (
        "".join(text for kind, text in said if kind == "reasoning_content"),
        "".join(text for kind, text in said if kind == "content"),
        [(part.name, part.given) for part in parts if isinstance(part, Call)],
    )


def summed(message: Message) -> tuple[str, str, list[tuple[str, Any]]]:
    blocks = shown(message)
    return (
        "".join(block[1] for block in blocks if block[0] == "thinking"),
        "".join(block[1] for block in blocks if block[0] == "text"),
        [(block[1], block[2]) for block in blocks if block[0] == "tool_use"],
    )


def frame(plaintext: bytes) -> bytes:
    text = base64.b64encode(base64.b64decode(seal_chunk(plaintext, SHARED))).decode()
    payload = (
        '{"type":"inference_response_chunk","request_id":"r","encrypted_data":'
        f'{{"ephemeral_public_key":"{KEYS.public_text}","ciphertext":"{text}"}}}}'
    )
    return native.encode_frame(1, payload.encode(), mask=b"\x01\x02\x03\x04")


@settings(max_examples=60, deadline=None)
@given(_PARTS, st.booleans())
def test_stream_and_whole_answer_hold_exactly_what_the_provider_said(parts: list[Any], has_tools: bool) -> None:
    dialect = MessagesDialect(has_tools=has_tools)
    stream, answer = dialect.new_stream(FACTS), dialect.new_answer(FACTS)
    out = b""
    for plaintext in plaintexts(parts):
        out += b"".join(piece.ready for piece in stream.feed(plaintext))
        answer.feed(plaintext)
    assert summed(read_stream(out + stream.finish(USAGE))) == truth(parts)
    assert summed(read_answer(answer.finish(USAGE))) == truth(parts)
    assert (stream.deltas, stream.text_bytes) == (answer.deltas, answer.text_bytes)


@pytest.mark.parametrize("kind", PUMPS)
@settings(max_examples=40, deadline=None)
@given(_PARTS, st.integers(1, 4000), st.booleans())
def test_pump_with_splicing_gives_the_same_message(kind: str, parts: list[Any], step: int, has_tools: bool) -> None:
    dialect = MessagesDialect(has_tools=has_tools)
    full, fast = dialect.new_stream(FACTS), dialect.new_stream(FACTS)
    texts = plaintexts(parts)
    expected = b"".join(piece.ready for text in texts for piece in full.feed(text)) + full.finish(USAGE)
    pump = PUMPS[kind](max_message_bytes=1 << 20)
    pump.set_peer_key(KEYS.public_text.encode())
    pump.attach("r", SHARED.view(), "owner")
    wire = b"".join(frame(text) for text in texts)
    out = b""
    deltas_seen = bytes_seen = 0
    for place in range(0, len(wire), step):
        for event, _owner, payload, run_deltas, run_bytes in pump.feed(wire[place : place + step]):
            if event == native.EV_OPENED:
                out += b"".join(piece.ready for piece in fast.feed(payload))
                pump.set_template("r", fast.template)
            else:
                assert event == native.EV_RUN
                assert not has_tools
                deltas_seen += run_deltas
                bytes_seen += run_bytes
                out += payload
    pump.close()
    assert out + fast.finish(USAGE) == expected
    assert (fast.deltas + deltas_seen, fast.text_bytes + bytes_seen) == (full.deltas, full.text_bytes)
