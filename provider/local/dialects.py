"""The inference endpoints: how each reads a body, and in whose words it answers."""

from collections.abc import Callable
from typing import Final, NamedTuple

from protocol.api import parse_chat_request
from protocol.api.anthropic import MessagesDialect, lower_messages
from protocol.api.chat_request import ChatRequest
from protocol.api.completions import COMPLETIONS, parse_completion_request
from protocol.api.responses import ResponsesDialect, parse_responses_request
from protocol.api.shapes import CHAT, Dialect

CheckModel = Callable[[str], None]


class Asked(NamedTuple):
    """A checked body in the one internal form, and how its answer is to look."""

    chat: ChatRequest
    dialect: Dialect


ReadBody = Callable[[bytes, CheckModel, int], Asked]
"""Reads (body, check of the model's name, most bytes); raises `ApiError`."""


def read_chat(body: bytes, check_model: CheckModel, limit_bytes: int) -> Asked:
    """`POST /v1/chat/completions`."""
    return Asked(parse_chat_request(body, check_model=check_model, limit_bytes=limit_bytes), CHAT)


def read_completion(body: bytes, check_model: CheckModel, limit_bytes: int) -> Asked:
    """`POST /v1/completions`."""
    return Asked(parse_completion_request(body, check_model=check_model, limit_bytes=limit_bytes), COMPLETIONS)


def read_response(body: bytes, check_model: CheckModel, limit_bytes: int) -> Asked:
    """`POST /v1/responses`."""
    request = parse_responses_request(body, check_model=check_model, limit_bytes=limit_bytes)
    return Asked(request.chat, ResponsesDialect(request.echo))


def read_messages(body: bytes, check_model: CheckModel, limit_bytes: int) -> Asked:
    """`POST /v1/messages`."""
    lowered = lower_messages(body, check_model=check_model, limit_bytes=limit_bytes)
    dialect = MessagesDialect(stop_sequences=lowered.stop_sequences, has_tools=lowered.chat.has_tools)
    return Asked(lowered.chat, dialect)


READERS: Final[dict[str, ReadBody]] = {
    "/v1/chat/completions": read_chat,
    "/v1/completions": read_completion,
    "/v1/responses": read_response,
    "/v1/messages": read_messages,
}
