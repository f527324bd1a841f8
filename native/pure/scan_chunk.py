"""Recognises the hot frame, `inference_response_chunk`, in one walk; anything unusual is left to the full decode."""

from __future__ import annotations

import re

from native.pure.scan import skip_space
from native.shapes import MAX_SCAN_BYTES, BytesLike, ChunkSpans

CHUNK_TYPE = b"inference_response_chunk"

_KEY = re.compile(rb'"(type|request_id|encrypted_data|data|ephemeral_public_key|ciphertext)"')
_TEXT = re.compile(rb'"((?:[ !#-\[\]-\x7f]|\\/)*+)"')
_OUTER = frozenset({b"type", b"request_id", b"encrypted_data", b"data"})
_INNER = frozenset({b"ephemeral_public_key", b"ciphertext"})

_Spans = dict[bytes, tuple[int, int]]


class _Unusual(Exception):
    """The frame is not a chunk, or not one that is plain enough."""


def scan_chunk(buf: BytesLike) -> ChunkSpans | None:
    """Spans of request id, sender key and ciphertext, or None if the frame needs the full decode.

    Accepted are the top-level keys `type`, `request_id`, `encrypted_data` and an empty `data`, each at most once, and
    in `encrypted_data` exactly `ephemeral_public_key` and `ciphertext`. Every value is ASCII text without control
    characters, and its only escape is `\\/`. Only white space may follow the object.
    """
    data = bytes(buf)
    if len(data) > MAX_SCAN_BYTES:
        return None
    spans: _Spans = {}
    try:
        end = _object(data, skip_space(data, 0), _OUTER, spans)
    except _Unusual:
        return None
    if skip_space(data, end) != len(data):
        return None
    if not (_INNER | {b"type", b"request_id"} <= spans.keys()):
        return None
    if data[slice(*spans[b"type"])] != CHUNK_TYPE:
        return None
    if b"data" in spans and spans[b"data"][0] != spans[b"data"][1]:
        return None
    ids, keys, texts = (spans[name] for name in (b"request_id", b"ephemeral_public_key", b"ciphertext"))
    escapes = any(b"\\" in data[slice(*span)] for span in (ids, keys, texts))
    return ChunkSpans(*ids, *keys, *texts, escapes)


def _object(data: bytes, pos: int, allowed: frozenset[bytes], spans: _Spans) -> int:
    """Walk one object, note the span of each string in `spans`, and return the position after its end."""
    if data[pos : pos + 1] != b"{":
        raise _Unusual
    while True:
        key = _KEY.match(data, skip_space(data, pos + 1))
        if key is None or key[1] not in allowed or key[1] in spans:
            raise _Unusual
        pos = skip_space(data, key.end())
        if data[pos : pos + 1] != b":":
            raise _Unusual
        pos = skip_space(data, pos + 1)
        if key[1] == b"encrypted_data":
            spans[key[1]] = (pos, pos)
            pos = _object(data, pos, _INNER, spans)
        else:
            text = _TEXT.match(data, pos)
            if text is None:
                raise _Unusual
            spans[key[1]] = text.span(1)
            pos = text.end()
        pos = skip_space(data, pos)
        after = data[pos : pos + 1]
        if after == b"}":
            return pos + 1
        if after != b",":
            raise _Unusual
