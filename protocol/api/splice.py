"""Templates for the frame pump: a chunk that differs from a normalised one only in its text needs no full decode.

Invariant: a template exists only if re-reading the chunk with other texts in its place gave those very texts.
"""

from __future__ import annotations

from typing import Final

import msgspec

from native import SpliceTemplate
from protocol.api.chunk import WireChoice, read_chunk
from protocol.api.sse import split_events

MAX_SIDE_BYTES: Final = 4096
"""Longest input prefix or suffix that is worth a template."""

MAX_PLACES: Final = 8
"""Places of a chunk that are tried: a text like "a" may also stand in a key."""

MAX_DERIVATIONS: Final = 64
"""Derivations of one stream: a provider whose chunks all differ must not make each of them dearer."""

_TEXT: Final = msgspec.json.Decoder(str)
_PROBE: Final = 'probe "1" \\ \n é 😀'


def plain_content(plaintext: bytes) -> str | None:
    """The text of a chunk that is one event with one content delta and nothing else; None for any other chunk."""
    payloads = split_events(plaintext)
    if len(payloads) != 1:
        return None
    choice = read_chunk(payloads[0])
    return None if choice is None else plain_text(choice)


def plain_text(choice: WireChoice) -> str | None:
    """The text of a choice that is one content delta and nothing else; None for any other choice."""
    delta = choice.delta
    if choice.finish_reason is not None:
        return None
    if delta is None:
        return choice.text or None if choice.message is None and choice.logprobs_absent() else None
    if delta.tool_calls or delta.refusal or delta.reasoning_details or delta.reasoning_text():
        return None
    if not choice.logprobs_absent():
        return None
    return delta.content or None


def _locate(plaintext: bytes, content: str, out_prefix: bytes, out_suffix: bytes) -> SpliceTemplate | None:
    """The template of a plain content chunk, or None when its text cannot be located with certainty.

    `out_prefix` and `out_suffix` surround the JSON string body in the output. The verdict is tested, not inferred: each
    candidate place is filled with another text and the chunk is read again.
    """
    trimmed = plaintext.rstrip(b"\r\n")
    body = _body(content)
    quoted = b'"' + body + b'"'
    place = trimmed.find(quoted)
    for _ in range(MAX_PLACES):
        if place < 0:
            return None
        prefix, suffix = trimmed[: place + 1], trimmed[place + 1 + len(body) :]
        if max(len(prefix), len(suffix)) > MAX_SIDE_BYTES:
            return None
        # Two different texts were read back from this place: the chunk's own, and the probe.
        if content != _PROBE and plain_content(prefix + _PROBE_BODY + suffix) == _PROBE:
            return SpliceTemplate(prefix, suffix, out_prefix, out_suffix)
        place = trimmed.find(quoted, place + 1)
    return None


class TemplateKeeper:
    """The current template of one stream; follows a provider that changes the shape of its chunks."""

    def __init__(self, out_prefix: bytes, out_suffix: bytes) -> None:
        self._out_prefix = out_prefix
        self._out_suffix = out_suffix
        self._derivations = 0
        self.current: SpliceTemplate | None = None

    def text_of(self, plaintext: bytes) -> str | None:
        """The text of a chunk of the current shape, without a full decode; None for any other chunk.

        The template's proof covers every text: what stands between its two sides is the whole content.
        """
        body = self._body_of(plaintext)
        if not body:
            return None
        try:
            return _TEXT.decode(b'"' + body + b'"')
        except (msgspec.MsgspecError, ValueError):
            return None

    def saw(self, plaintext: bytes, content: str) -> None:
        """Note a chunk that took the full path and is one plain content delta; a new shape gives a new template."""
        known = self.current
        if self._derivations >= MAX_DERIVATIONS or self._body_of(plaintext) is not None:
            return
        self._derivations += 1
        self.current = _locate(plaintext, content, self._out_prefix, self._out_suffix) or known

    def _body_of(self, plaintext: bytes) -> bytes | None:
        known = self.current
        if known is None:
            return None
        trimmed = plaintext.rstrip(b"\r\n")
        start, end = len(known.in_prefix), len(trimmed) - len(known.in_suffix)
        if start <= end and trimmed.startswith(known.in_prefix) and trimmed.endswith(known.in_suffix):
            return trimmed[start:end]
        return None


def _body(text: str) -> bytes:
    return msgspec.json.encode(text)[1:-1]


_PROBE_BODY: Final = _body(_PROBE)
