"""The delta splice, proved against a JSON codec: it never changes what a client reads, and it takes what it should."""

from __future__ import annotations

from types import ModuleType

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from native.pure.splice import splice
from native.shapes import EV_OPENED, EV_RUN, SpliceTemplate
from tests.unit.native.chunk_frames import IMPLEMENTATIONS, KEY, PEER, chunk, sealed, text

# The parts around the text are as small as JSON allows, so that a whole output can be decoded.
TEMPLATE = SpliceTemplate(b'{"c":"', b'"}', b'{"d":"', b'"}\n\n')


def pump_result(module: ModuleType, body: bytes) -> tuple[bytes, int] | None:
    """Output and text bytes if the pump spliced the body, None if it handed it up."""
    pump = module.Pump(max_message_bytes=1 << 20)
    pump.set_peer_key(PEER)
    pump.attach("a", KEY, "A")
    pump.set_template("a", TEMPLATE)
    plaintext = TEMPLATE.in_prefix + body + TEMPLATE.in_suffix
    ((kind, _, payload, deltas, text_bytes),) = pump.feed(text(chunk("a", sealed(plaintext))))
    if kind == EV_RUN:
        assert deltas == 1
        return payload, text_bytes
    assert (kind, payload) == (EV_OPENED, plaintext)
    return None


def full_path(body: bytes) -> tuple[bytes, int] | None:
    """What decoding and encoding makes of a body: output and text bytes; None if it is no JSON string body."""
    try:
        value = msgspec.json.decode(b'"' + body + b'"', type=str)
        return b'{"d":' + msgspec.json.encode(value) + b"}\n\n", len(value.encode())
    except (msgspec.DecodeError, UnicodeError):
        return None


def check(body: bytes) -> None:
    """Every implementation splices the body exactly if the codec would re-emit it, and then to the codec's bytes."""
    expected = full_path(body)
    canonical = (
        expected is not None and body != b"" and expected[0] == TEMPLATE.out_prefix + slashes_plain(body) + b'"}\n\n'
    )
    for module in IMPLEMENTATIONS:
        assert pump_result(module, body) == (expected if canonical else None)


def slashes_plain(body: bytes) -> bytes:
    """The body with `\\/` as `/`, read escape by escape."""
    out, at = bytearray(), 0
    while at < len(body):
        pair = body[at : at + 2]
        if pair[:1] == b"\\":
            out += b"/" if pair == b"\\/" else pair
            at += 2
        else:
            out += pair[:1]
            at += 1
    return bytes(out)


@given(st.text(max_size=40))
def test_splice_takes_every_text_as_an_encoder_writes_it(value: str) -> None:
    try:
        body = msgspec.json.encode(value)[1:-1]
    except UnicodeEncodeError:
        return
    check(body)
    check(body.replace(b"/", b"\\/"))
    if value:
        assert splice(TEMPLATE.in_prefix + body + TEMPLATE.in_suffix, TEMPLATE) is not None


_ESCAPES = (
    rb"\" \\ \/ \b \f \n \r \t \a \u \u00 \u000 \x41 \u0000 \u0008 \u000b \u000B \u000e \u001f \u001F \u0010 \U0010"
    rb" \u007f \u00e9 \ud83d\ude00 \ud800"
).split()
_RAW = [b"/", b"\\", b"\x7f", b"\x1f", b'"', b"a", b"u0041", "é".encode(), "🌍".encode(), "\u2028".encode()]
_NOT_UTF8 = [
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xc0\xaf",
    b"\xe0\x80\x80",
    b"\xf0\x80\x80\x80",
    b"\x80",
    b"\xff",
]
_FRAGMENTS = st.sampled_from([*_ESCAPES, *_RAW, *_NOT_UTF8])


@given(st.lists(_FRAGMENTS | st.binary(max_size=3), max_size=10).map(b"".join))
def test_splice_takes_a_body_exactly_if_the_codec_re_emits_it(body: bytes) -> None:
    # A bad byte makes the plaintext no text at all: that is the pump's EV_BAD_TEXT, which has tests of its own.
    try:
        body.decode()
    except UnicodeDecodeError:
        assert splice(TEMPLATE.in_prefix + body + TEMPLATE.in_suffix, TEMPLATE) is None
        return
    check(body)


@pytest.mark.parametrize("code", range(0x80))
def test_splice_every_ascii_escape(code: int) -> None:
    check(b"\\" + bytes([code]))
    check(bytes([code]))
    for digits in (f"{code:04x}", f"{code:04X}", f"00{code:02x}"):
        check(b"\\u" + digits.encode())
        check(b"x\\u" + digits.encode() + b"y")
