"""Templates for the frame pump: a chunk that differs from a normalised one only in its text needs no full decode.

Invariant: a template exists only if re-reading the chunk with other texts in its place gave those very texts.
"""

from __future__ import annotations

from typing import Final

import msgspec

from native import SpliceTemplate
from protocol.api.chunk import read_chunk
from protocol.api.sse import split_events

MAX_SIDE_BYTES: Final = 4096
"""Longest input prefix or suffix that is worth a template."""

MAX_PLACES: Final = 8
"""Places of a chunk that are tried: a text like "a" may also stand in a key."""

MAX_DERIVATIONS: Final = 64
"""Derivations of one stream: a provider whose chunks all differ must not make each of them dearer."""

_PROBES: Final = ('probe "1" \\ \n é 😀', "2")


def plain_content(plaintext: bytes) -> str | None:
    """The text of a chunk that is one event with one content delta and nothing else; None for any other chunk."""
    payloads = split_events(plaintext)
    if len(payloads) != 1:
        return None
    choice = read_chunk(payloads[0])
    if choice is None or choice.delta is None or choice.finish_reason is not None:
        return None
    delta = choice.delta
    if delta.tool_calls or delta.refusal or delta.reasoning_details or delta.reasoning_text():
        return None
    if not choice.logprobs_absent():
        return None
    return delta.content or None


def derive_template(plaintext: bytes, out_prefix: bytes, out_suffix: bytes) -> SpliceTemplate | None:
    """The template of a plain content chunk, or None when its text cannot be located with certainty.

    `out_prefix` and `out_suffix` surround the JSON string body in the output. The verdict is tested, not inferred: each
    candidate place is filled with probe texts and the chunk is read again.
    """
    content = plain_content(plaintext)
    if content is None:
        return None
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
        if all(plain_content(prefix + _body(probe) + suffix) == probe for probe in _PROBES):
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

    def saw(self, plaintext: bytes) -> None:
        """Note a chunk that took the full path; only a plain content chunk of a new shape changes anything."""
        known = self.current
        if known is not None and _same_shape(known, plaintext.rstrip(b"\r\n")):
            return
        if self._derivations >= MAX_DERIVATIONS or plain_content(plaintext) is None:
            return
        self._derivations += 1
        self.current = derive_template(plaintext, self._out_prefix, self._out_suffix) or known


def _same_shape(template: SpliceTemplate, trimmed: bytes) -> bool:
    return (
        len(trimmed) >= len(template.in_prefix) + len(template.in_suffix)
        and trimmed.startswith(template.in_prefix)
        and trimmed.endswith(template.in_suffix)
    )


def _body(text: str) -> bytes:
    return msgspec.json.encode(text)[1:-1]
