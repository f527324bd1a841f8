"""Opening a sealed body: the checks in their public order, each with its own error.

No error repeats a member of the body except the key ids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from protocol import sodium
from protocol.api.errors import ApiError
from protocol.sealing import KEY_BYTES, SealingError, wipe_plaintext
from protocol.strict_base64 import decode_strict_base64
from server.sealed.exchange import SealedExchange

if TYPE_CHECKING:
    from server.sealed.keys import KeyRing, SealingKey


class Opened(NamedTuple):
    """The request's body, what seals its answer, and what tells a repetition: the one-off key and the nonce."""

    plaintext: bytes
    exchange: SealedExchange
    mark: bytes


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    kid: str | None = None
    ephemeral_public_key: str | None = None
    ciphertext: str | None = None


def open_envelope(body: bytes, ring: KeyRing) -> Opened:
    """Open one body; works for milliseconds per megabyte and touches nothing shared, so a thread may call it.

    Raises ApiError 400: `invalid_sealed_envelope`, `kid_mismatch` or `decryption_failed`. A member that does not belong
    to the envelope is refused too: whatever stands beside the ciphertext is not sealed.
    """
    try:
        envelope = msgspec.json.decode(body, type=_Envelope)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise _invalid(
            "The sealed body is no JSON object of kid, ephemeral_public_key and ciphertext alone; "
            "everything else belongs into the sealed text."
        ) from None
    keys = ring.candidates(envelope.kid)
    if not keys:
        text = f"The key {(envelope.kid or '')[:64]!r} is not in use; fetch GET /v1/encryption-key and seal again."
        raise ApiError(400, "kid_mismatch", text)
    public = _decoded(envelope.ephemeral_public_key, "ephemeral_public_key")
    if len(public) != KEY_BYTES:
        raise _invalid(f"ephemeral_public_key must be {KEY_BYTES} bytes in base64.")
    box = _decoded(envelope.ciphertext, "ciphertext")
    if len(box) < sodium.NONCE_BYTES:
        raise _invalid(f"ciphertext is too short: it begins with a nonce of {sodium.NONCE_BYTES} bytes.")
    for key in keys:
        found = _open(box, public, key)
        if found is not None:
            return found
    text = "The sealed body does not open with the key of this coordinator; seal it again."
    raise ApiError(400, "decryption_failed", text)


def _open(box: bytes, public: bytes, key: SealingKey) -> Opened | None:
    try:
        shared = key.private.agree(public)
    except SealingError:
        return None  # a key of low order: nothing can be sealed to it
    plaintext = sodium.open_box(box, shared.view()) if len(box) >= sodium.NONCE_BYTES + sodium.TAG_BYTES else None
    if plaintext is None:
        shared.wipe()
        return None
    opened = Opened(bytes(plaintext), SealedExchange(key.kid, shared), public + box[: sodium.NONCE_BYTES])
    wipe_plaintext(plaintext)
    return opened


def _decoded(text: str | None, member: str) -> bytes:
    try:
        return decode_strict_base64(text or "")
    except ValueError:
        raise _invalid(f"{member} is not base64; send the padded standard alphabet.") from None


def _invalid(text: str) -> ApiError:
    return ApiError(400, "invalid_sealed_envelope", text)
