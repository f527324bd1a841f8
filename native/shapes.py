"""Names, records and error types that the C implementation and its pure-Python twin share."""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

BytesLike: TypeAlias = bytes | bytearray | memoryview
"""Any contiguous buffer of bytes; a cffi buffer is accepted at run time as well."""

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 24
TAG_BYTES: Final = 16
BOX_OVERHEAD_BYTES: Final = NONCE_BYTES + TAG_BYTES

MAX_DEPTH: Final = 128
"""Levels of nesting, the outermost object included, above which a scanner gives up."""

MAX_SCAN_BYTES: Final = 0x7FFF_FFFF
"""Longest text that a scanner looks at; offsets then fit 31 bits."""

MAX_ID_BYTES: Final = 128
MAX_ATTACHED: Final = 65_536
MAX_TEMPLATE_BYTES: Final = 65_536
MAX_PEER_KEY_BYTES: Final = 256

MAX_WRITE_BYTES: Final = 16_384
"""The longest run that leaves through a spout: the largest chunk of a streamed answer."""

EVENT_LIMIT: Final = 64
"""Events that one pass of the pump may hold; it flushes every open run before it would pass this number."""

EV_RUN: Final = 1
EV_OPENED: Final = 2
EV_OPAQUE: Final = 3
EV_VIOLATION: Final = 4
EV_BAD_TEXT: Final = 5
EV_MESSAGE: Final = 6
EV_PING: Final = 7
EV_PONG: Final = 8
EV_CLOSE: Final = 9
EV_FATAL: Final = 10
EV_STUCK: Final = 11

V_SENDER_KEY: Final = 1
V_BASE64: Final = 2
V_SHORT: Final = 3
V_OPEN: Final = 4

OP_CONTINUATION: Final = 0
OP_TEXT: Final = 1
OP_BINARY: Final = 2
OP_CLOSE: Final = 8
OP_PING: Final = 9
OP_PONG: Final = 10

CLOSE_PROTOCOL_ERROR: Final = 1002
CLOSE_NO_STATUS: Final = 1005
CLOSE_INVALID_TEXT: Final = 1007
CLOSE_TOO_BIG: Final = 1009

Event: TypeAlias = tuple[int, object, bytes, int, int]
"""(kind, owner or None, payload, a, b); what a and b mean depends on the kind, see `native`."""


class DecryptError(Exception):
    """A chunk is not strict base64, is too short, or its box does not open. Says no more than that."""

    def __init__(self) -> None:
        super().__init__("The chunk does not open.")


class ChunkSpans(NamedTuple):
    """Where the parts of an `inference_response_chunk` lie in its frame, quotes excluded.

    `has_escapes` is true if any of the three values contains the escape `\\/`, which is the only one allowed.
    """

    id_start: int
    id_end: int
    key_start: int
    key_end: int
    ct_start: int
    ct_end: int
    has_escapes: bool


class SpliceTemplate(NamedTuple):
    """How the plain content delta of one attempt is rewritten without decoding its JSON.

    A chunk matches if its plaintext, after trailing CR and LF were trimmed, is `in_prefix` + middle + `in_suffix` with
    a middle that is not empty and that the full path would emit unchanged. Then the output is `out_prefix` + middle
    (with `\\/` written as `/`) + `out_suffix`; the suffix holds the blank line that ends the event.
    """

    in_prefix: bytes
    in_suffix: bytes
    out_prefix: bytes
    out_suffix: bytes


def no_descriptor(fd: int) -> OSError:
    """The error of a spout that cannot be made."""
    return OSError(f"The descriptor {fd} cannot be duplicated: raise the limit of open files (ulimit -n).")


def check_template(template: SpliceTemplate) -> None:
    """Raise ValueError unless every part is valid UTF-8 of at most MAX_TEMPLATE_BYTES."""
    for name, part in zip(template._fields, template, strict=True):
        if len(part) > MAX_TEMPLATE_BYTES:
            raise ValueError(
                f"The template's {name} has {len(part)} bytes; the limit is {MAX_TEMPLATE_BYTES}: leave it unset."
            )
        try:
            part.decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"The template's {name} is not valid UTF-8: leave the template unset.") from None


def check_attachment(request_id: bytes, shared_key: BytesLike, *, attached: int) -> None:
    """Raise ValueError unless the id's length, the key's length and the number of attached ids are in bounds."""
    if not 0 < len(request_id) <= MAX_ID_BYTES:
        raise ValueError(f"A request id has 1 to {MAX_ID_BYTES} bytes; this one has {len(request_id)}.")
    if len(shared_key) != KEY_BYTES:
        raise ValueError(f"A shared key has {KEY_BYTES} bytes; this one has {len(shared_key)}.")
    if attached >= MAX_ATTACHED:
        raise ValueError(f"{attached} ids are attached; the limit is {MAX_ATTACHED}: detach some first.")


def check_key(shared_key: BytesLike) -> None:
    """Raise ValueError unless the key has 32 bytes."""
    if len(shared_key) != KEY_BYTES:
        raise ValueError(f"A shared key has {KEY_BYTES} bytes; this one has {len(shared_key)}.")


def check_nonce(nonce: bytes) -> None:
    """Raise ValueError unless the nonce has 24 bytes."""
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"A nonce has {NONCE_BYTES} bytes; this one has {len(nonce)}.")


def check_peer_key(key_text: bytes) -> None:
    """Raise ValueError if the key's text is longer than any key can be."""
    if len(key_text) > MAX_PEER_KEY_BYTES:
        raise ValueError(f"A key text has at most {MAX_PEER_KEY_BYTES} bytes; this one has {len(key_text)}.")


def check_message_limit(max_message_bytes: int) -> None:
    """Raise ValueError unless the limit is between 125 bytes and 1 GiB."""
    if not 125 <= max_message_bytes <= 1 << 30:
        raise ValueError(f"max_message_bytes is {max_message_bytes}; give a number from 125 to {1 << 30}.")
