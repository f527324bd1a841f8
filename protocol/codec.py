"""Frames as bytes on one side and message structs on the other; pure, and silent about what a frame contains.

A frame is parsed once: the native scanner finds the top-level `type`, and one compiled decoder builds that message.
When the scanner is not sure, or when a `null` stands where the message has a plain value, `protocol.slow_frame` decides
with the same result. No error of this module quotes a frame: texts are fixed, field paths come from our own schema.
"""

import math
import re
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar, cast

import msgspec

import native
from protocol.messages.from_provider import FROM_PROVIDER, FromProvider
from protocol.messages.to_provider import TO_PROVIDER, ToProvider
from protocol.messages.wire import Message, raw_bytes
from protocol.slow_frame import MalformedFrame, TypeNotString, convertible, find_type

FrameErrorKind = Literal["malformed", "type", "unknown", "invalid"]

_PATH: Final = re.compile(r" - at `\$([\w.\[\]]*)`$")
_ENCODER: Final = msgspec.json.Encoder()
_M = TypeVar("_M", bound=Message)


class FrameRejected(Exception):
    """A frame was dropped; `kind` is closed, `message_type` a known type or `""`; no text holds frame content."""

    def __init__(self, kind: FrameErrorKind, text: str, message_type: str = "") -> None:
        super().__init__(text)
        self.kind: Final = kind
        self.text: Final = text
        self.message_type: Final = message_type


@dataclass(frozen=True, slots=True)
class _Shape(Generic[_M]):
    """One message type with its compiled decoder."""

    message: type[_M]
    decoder: msgspec.json.Decoder[_M]
    fields: frozenset[str]
    raw_fields: frozenset[str]


def _shapes(messages: tuple[type[_M], ...]) -> dict[bytes, _Shape[_M]]:
    shapes: dict[bytes, _Shape[_M]] = {}
    for message in messages:
        fields = msgspec.structs.fields(message)
        shapes[message.TYPE.encode()] = _Shape(
            message=message,
            decoder=msgspec.json.Decoder(message),
            fields=frozenset(field.encode_name for field in fields),
            raw_fields=frozenset(field.encode_name for field in fields if field.type is msgspec.Raw),
        )
    return shapes


_FROM_PROVIDER: Final = _shapes(cast(tuple[type[Message], ...], FROM_PROVIDER))
_TO_PROVIDER: Final = _shapes(cast(tuple[type[Message], ...], TO_PROVIDER))
_PREFIXES: Final = {shape.message: b'{"type":"%b"' % name for name, shape in (_FROM_PROVIDER | _TO_PROVIDER).items()}


def decode_from_provider(payload: bytes) -> FromProvider:
    """Decode one frame of a provider; raises `FrameRejected`. Source: wire protocol, frame codec."""
    return cast(FromProvider, _decode(payload, _FROM_PROVIDER))


def decode_to_provider(payload: bytes) -> ToProvider:
    """Decode one frame of the coordinator; raises `FrameRejected`. Source: wire protocol, frame codec."""
    return cast(ToProvider, _decode(payload, _TO_PROVIDER))


def encode(message: Message) -> bytes:
    """Write a message as compact UTF-8 JSON, `type` first, absent fields left out; non-finite numbers are refused.

    Raises `ValueError` for a NaN or infinite number, because JSON has none and a receiver would see an absent field.
    """
    body = _ENCODER.encode(message)
    if b"null" in body:
        _refuse_non_finite(message)
    prefix = _PREFIXES[type(message)]
    return prefix + b"}" if body == b"{}" else b"".join((prefix, b",", memoryview(body)[1:]))


def inference_request_frame(
    *,
    request_id: str,
    ephemeral_public_key: str,
    ciphertext: bytes,
    first_content_budget_ms: int = 0,
    cache_scope: str = "",
) -> bytes:
    """Build an `inference_request` around base64 `ciphertext` (bytes) with a single copy of it.

    Byte-identical with `encode(InferenceRequest(...))`; a 16 MiB body makes a frame of 22 MB, so copies count.
    """
    tail = b""
    if first_content_budget_ms:
        tail += b',"first_content_budget_ms":%d' % first_content_budget_ms
    if cache_scope:
        tail += b',"cache_scope":' + _ENCODER.encode(cache_scope)
    return b"".join(
        (
            b'{"type":"inference_request","request_id":',
            _ENCODER.encode(request_id),
            b',"encrypted_body":{"ephemeral_public_key":',
            _ENCODER.encode(ephemeral_public_key),
            b',"ciphertext":"',
            ciphertext,
            b'"}',
            tail,
            b"}",
        )
    )


def chunk_frame(*, request_id: str, public_key: str, ciphertext: bytes) -> bytes:
    """Build an `inference_response_chunk` around base64 `ciphertext`; `public_key` is the registered text."""
    return b"".join(
        (
            b'{"type":"inference_response_chunk","request_id":',
            _ENCODER.encode(request_id),
            b',"encrypted_data":{"ephemeral_public_key":',
            _ENCODER.encode(public_key),
            b',"ciphertext":"',
            ciphertext,
            b'"}}',
        )
    )


def attested_bytes(raw: msgspec.Raw) -> bytes:
    """Give the exact bytes of the signed blob inside `register.attestation`, from its `{` to its `}`.

    `b""` when there is no attestation, no inner `attestation`, or when a key stands twice; the signature covers these
    bytes and nothing else.
    """
    envelope = raw_bytes(raw)
    span = native.raw_span(envelope, b"attestation")
    return b"" if span is None else envelope[span[0] : span[1]]


def _refuse_non_finite(value: object) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("A wire message holds a number that is not finite; leave the field out instead.")
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            _refuse_non_finite(getattr(value, name))
    elif isinstance(value, tuple):
        for element in value:
            _refuse_non_finite(element)


def _decode(payload: bytes, shapes: dict[bytes, _Shape[Message]]) -> Message:
    span = native.scan_type(payload)
    if span is None:
        return _decode_unsure(payload, shapes)
    shape = shapes.get(payload[span[0] : span[1]])
    if shape is None:
        raise FrameRejected("unknown", "unknown message type")
    if not _is_utf8(payload):
        raise _malformed(shape)
    try:
        return shape.decoder.decode(payload)
    except msgspec.ValidationError as error:
        failure = _invalid(shape, error)
    except (msgspec.DecodeError, RecursionError):
        failure = _malformed(shape)
    if failure.kind == "invalid" and b"null" in payload:
        return _build(payload, shape)
    raise failure


def _decode_unsure(payload: bytes, shapes: dict[bytes, _Shape[Message]]) -> Message:
    """Decode a frame whose type the scanner did not find."""
    failure: FrameRejected | None = None
    name = b""
    try:
        name = find_type(payload)
    except MalformedFrame:
        failure = FrameRejected("malformed", "malformed frame")
    except TypeNotString:
        failure = FrameRejected("type", "type is not a string")
    if failure is not None:
        raise failure
    shape = shapes.get(name)
    if shape is None:
        raise FrameRejected("unknown", "unknown message type")
    return _build(payload, shape)


def _build(payload: bytes, shape: _Shape[Message]) -> Message:
    """Build a message from generically decoded members, `null` taken as absent."""
    try:
        members: dict[str, Any] = convertible(payload, shape.fields, shape.raw_fields)
        return msgspec.convert(members, shape.message)
    except msgspec.ValidationError as error:
        failure = _invalid(shape, error)
    except MalformedFrame:
        failure = _malformed(shape)
    raise failure


def _is_utf8(payload: bytes) -> bool:
    if payload.isascii():
        return True
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def _malformed(shape: _Shape[Message]) -> FrameRejected:
    return FrameRejected("malformed", "malformed frame", shape.message.TYPE)


def _invalid(shape: _Shape[Message], error: msgspec.ValidationError) -> FrameRejected:
    """Name the field by its path in our schema; the rest of the foreign text may quote the frame and is dropped."""
    found = _PATH.search(str(error))
    path = re.sub(r"\[[^\]]*\]", "[]", found.group(1)).lstrip(".") if found else ""
    return FrameRejected("invalid", f"invalid {shape.message.TYPE} message: {path or 'fields'}", shape.message.TYPE)
