"""Shapes of the public API that coordinator and local server share: requests, streams, answers, errors."""

from __future__ import annotations

from protocol.api.chat_answer import AnswerTooLarge, ChatAnswer
from protocol.api.chat_request import ChatRequest, parse_chat_request
from protocol.api.chat_stream import ChatStream, Piece
from protocol.api.ending import UsageReport
from protocol.api.errors import ApiError, openai_envelope

__all__ = [
    "AnswerTooLarge",
    "ApiError",
    "ChatAnswer",
    "ChatRequest",
    "ChatStream",
    "Piece",
    "UsageReport",
    "openai_envelope",
    "parse_chat_request",
]
