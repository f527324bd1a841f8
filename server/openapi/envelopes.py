"""Shapes that every family of endpoints shares: errors in both envelopes, and sealed bodies."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType


class ErrorDetail(msgspec.Struct, kw_only=True):
    """What went wrong: a sentence for people, and stable names for programs."""

    message: str
    type: str
    code: str
    param: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    retry_after_ms: int | UnsetType = UNSET


class ErrorAnswer(msgspec.Struct, kw_only=True):
    """An error, as OpenAI's clients read it."""

    error: ErrorDetail


class AnthropicErrorDetail(msgspec.Struct, kw_only=True):
    """What went wrong, in Anthropic's words; `code` is ours."""

    type: str
    message: str
    code: str | UnsetType = UNSET
    details: dict[str, Any] | UnsetType = UNSET
    param: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    retry_after_ms: int | UnsetType = UNSET


class AnthropicErrorAnswer(msgspec.Struct, kw_only=True):
    """An error, as Anthropic's clients read it."""

    type: Literal["error"]
    error: AnthropicErrorDetail
    request_id: str | UnsetType | None = UNSET


class SealedBody(msgspec.Struct, kw_only=True):
    """A body that only the coordinator can open: base64 of nonce and box, and the key pair's public half."""

    ephemeral_public_key: str
    ciphertext: str
    kid: str | UnsetType = UNSET


class SealedAnswer(msgspec.Struct, kw_only=True):
    """An answer that only its asker can open."""

    kid: str
    ciphertext: str
