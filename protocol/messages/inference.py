"""Frames of one attempt on the provider's side: accepted, chunk, complete, error, and the drain barrier."""

from typing import ClassVar, Final

import msgspec

from protocol.messages.wire import NO_RAW, Count, EncryptedPayload, Int, Message, Wire, raw_bytes

PROFILE_MAX_BYTES: Final = 4096
"""A longer `profile` is treated as absent; it never fails its frame."""


class InferenceAccepted(Message, frozen=True, kw_only=True):
    """The request was taken, but its first token may need a model load first."""

    TYPE: ClassVar[str] = "inference_accepted"

    request_id: str = msgspec.field(default_factory=str)


class InferenceResponseChunk(Message, frozen=True, kw_only=True):
    """One sealed piece of the answer; a non-empty `data` (plaintext) is a violation."""

    TYPE: ClassVar[str] = "inference_response_chunk"

    request_id: str = msgspec.field(default_factory=str)
    encrypted_data: EncryptedPayload | None = None
    data: str = ""


class Usage(Wire, frozen=True, kw_only=True):
    """Token counts of one attempt; negative counts reject the frame."""

    prompt_tokens: Count = msgspec.field(default_factory=int)
    completion_tokens: Count = msgspec.field(default_factory=int)
    reasoning_tokens: Count = 0
    cached_tokens: Count = 0
    prefill_tokens_saved: Count = 0
    cache_outcome: str = ""
    cache_tier: str = ""


class CompleteExtension(Wire, frozen=True, kw_only=True):
    """Extensions of ours: the receipt as canonical JSON text, and its signature (base64 DER over its hex SHA-256)."""

    receipt: str = ""
    receipt_signature: str = ""


class InferenceComplete(Message, frozen=True, kw_only=True):
    """Success terminal of an attempt."""

    TYPE: ClassVar[str] = "inference_complete"

    request_id: str = msgspec.field(default_factory=str)
    usage: Usage = msgspec.field(default_factory=Usage)
    response_hash: str = ""
    se_signature: str = ""
    stop_sequence: str | None = None
    profile: msgspec.Raw = NO_RAW
    darkbloom: CompleteExtension | None = None

    def profile_bytes(self) -> bytes:
        """Give the opaque profile JSON, or `b""` when it is absent or above `PROFILE_MAX_BYTES`."""
        data = raw_bytes(self.profile)
        return data if len(data) <= PROFILE_MAX_BYTES else b""


class InferenceError(Message, frozen=True, kw_only=True):
    """Failure terminal of an attempt; `error` is the provider's free text and is never read, logged or shown."""

    TYPE: ClassVar[str] = "inference_error"

    request_id: str = msgspec.field(default_factory=str)
    error: str = msgspec.field(default_factory=str)
    status_code: Int = msgspec.field(default_factory=int)
    error_reason: str = ""
    failure_code: str = ""
    terminal_cause: str = ""
    attempt_usage: Usage | None = None
    rejection_reason: str = ""
    available_token_budget: Int | None = None
    feasible_after_ms: Int = 0
    capacity_seq: Int = 0


class ProviderDrain(Message, frozen=True, kw_only=True):
    """Barrier before a provider leaves: it follows the last terminal on the data lane."""

    TYPE: ClassVar[str] = "provider_drain"

    request_id: str = msgspec.field(default_factory=str)
