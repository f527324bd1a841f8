"""The hot path of the wire: scanners, strict base64, box opening, WebSocket frames and the frame pump.

Everything exists twice with identical results: in C (`native.speed`, over the extension `native._speed`) and in Python
(`native.pure`). `IMPLEMENTATION` says which one is in use, "c" or "python", and `WHY` says why it is the latter: the
setting DARKBLOOM_NATIVE=0, a missing extension, or a failed self-test.

A `Pump` belongs to one provider socket. `feed` returns events `(kind, owner, payload, a, b)` in frame order:

| kind | owner | payload | a | b |
|---|---|---|---|---|
| EV_RUN | of the attempt | output of one or more spliced deltas | deltas | UTF-8 bytes of their text |
| EV_OPENED | of the attempt | plaintext, valid UTF-8 | 0 | 0 |
| EV_OPAQUE | of the attempt | ciphertext, base64 text without escapes | 0 | 0 |
| EV_VIOLATION | of the attempt | empty | V_SENDER_KEY, V_BASE64, V_SHORT or V_OPEN | 0 |
| EV_BAD_TEXT | of the attempt | empty | 0 | 0 |
| EV_STUCK | of the attempt | empty | 0 | 0 |
| EV_MESSAGE | None | whole message that is no chunk of an attached id | opcode, 1 (valid UTF-8) or 2 | 0 |
| EV_PING, EV_PONG | None | payload | 0 | 0 |
| EV_CLOSE | None | reason | close code, 1005 if there is none | 0 |
| EV_FATAL | None | reason | close code to send: 1002, 1007 or 1009 | 0 |

A message, a close and a fatal error come after every run that was open; any other event of an attempt comes after that
attempt's run. EV_VIOLATION and EV_BAD_TEXT are the last event of an attempt: its key is wiped at once, and later chunks
of the id come up as EV_MESSAGE, as they do once it is detached. After EV_CLOSE and EV_FATAL all input is ignored.

A `Spout` spares the caller the run: it holds a duplicate of a consumer's socket, and while it is open, a pump that was
given it writes each run of at most 16 KiB there itself, as one HTTP/1.1 chunk with one send that never blocks, and
counts it. No event goes up for it. A run still goes up if in the same feed a message, or another event of its attempt,
went up before it: what those do comes first. What the socket does not take, or all when it is broken, waits as the rest
of the spout, which is shut from then on; EV_STUCK says so, but whoever else writes to the socket must look at `stuck`
first, in every turn. The owner of the socket closes the spout before the socket.
"""

from __future__ import annotations

from native.choice import (
    IMPLEMENTATION,
    WHY,
    Pump,
    Spout,
    decode_base64,
    encode_frame,
    open_chunk,
    raw_span,
    scan_chunk,
    scan_type,
    seal,
)
from native.shapes import (
    EV_BAD_TEXT,
    EV_CLOSE,
    EV_FATAL,
    EV_MESSAGE,
    EV_OPAQUE,
    EV_OPENED,
    EV_PING,
    EV_PONG,
    EV_RUN,
    EV_STUCK,
    EV_VIOLATION,
    MAX_DEPTH,
    OP_BINARY,
    OP_CLOSE,
    OP_CONTINUATION,
    OP_PING,
    OP_PONG,
    OP_TEXT,
    V_BASE64,
    V_OPEN,
    V_SENDER_KEY,
    V_SHORT,
    BytesLike,
    ChunkSpans,
    DecryptError,
    Event,
    SpliceTemplate,
)

__all__ = [
    "EV_BAD_TEXT",
    "EV_CLOSE",
    "EV_FATAL",
    "EV_MESSAGE",
    "EV_OPAQUE",
    "EV_OPENED",
    "EV_PING",
    "EV_PONG",
    "EV_RUN",
    "EV_STUCK",
    "EV_VIOLATION",
    "IMPLEMENTATION",
    "MAX_DEPTH",
    "OP_BINARY",
    "OP_CLOSE",
    "OP_CONTINUATION",
    "OP_PING",
    "OP_PONG",
    "OP_TEXT",
    "V_BASE64",
    "V_OPEN",
    "V_SENDER_KEY",
    "V_SHORT",
    "WHY",
    "BytesLike",
    "ChunkSpans",
    "DecryptError",
    "Event",
    "Pump",
    "SpliceTemplate",
    "Spout",
    "decode_base64",
    "encode_frame",
    "open_chunk",
    "raw_span",
    "scan_chunk",
    "scan_type",
    "seal",
]
