"""What a rejected frame means for the attempt that it names: a broken last word is a last word all the same.

A frame that the codec refuses is dropped and counted, but one that carries a terminal or a chunk of a pending attempt
must not leave that attempt waiting for a word that will never be repeated: it would hold its capacity until a limit.
The id is read from the raw frame and used for nothing but the look-up in the pending table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

import native
from protocol.messages.from_provider import InferenceComplete, InferenceError, InferenceResponseChunk

if TYPE_CHECKING:
    from protocol.codec import FrameRejected
    from server.link.attempts import Attempts

_TERMINALS: Final = frozenset({InferenceComplete.TYPE, InferenceError.TYPE})
_STATUS: Final = 502
RULE: Final = "malformed"


def end_attempt(attempts: Attempts, payload: bytes, error: FrameRejected) -> None:
    """End the pending attempt that a rejected terminal or chunk names, if it names one.

    A terminal ends it with a failure of the provider; a chunk that cannot be read breaks the encryption rules like one
    without a box. An id that cannot be read for sure, or that is not pending, changes nothing.
    """
    kind = error.message_type
    if kind not in _TERMINALS and kind != InferenceResponseChunk.TYPE:
        return
    request_id = _request_id(payload)
    attempt = attempts.find(request_id) if request_id else None
    if attempt is None:
        return
    if kind in _TERMINALS:
        attempts.failed(InferenceError(request_id=request_id, status_code=_STATUS))
    else:
        attempts.violated(attempt, RULE)


def _request_id(payload: bytes) -> str:
    """Read the frame's top-level `request_id`; empty when there is any doubt about it."""
    span = native.raw_span(payload, b"request_id")
    if span is None:
        return ""
    try:
        return msgspec.json.decode(payload[span[0] : span[1]], type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
