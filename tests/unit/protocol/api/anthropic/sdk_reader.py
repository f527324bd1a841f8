"""What the official SDK makes of an answer, read through a transport without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anthropic
import httpx2
import msgspec

if TYPE_CHECKING:
    from anthropic.types import Message


def client_reading(body: bytes, content_type: str, status: int = 200) -> anthropic.Anthropic:
    """A client for whom every request has this answer."""

    def answer(_request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, headers={"content-type": content_type, "request-id": "req-1"}, content=body)

    transport = httpx2.MockTransport(answer)
    return anthropic.Anthropic(api_key="k", max_retries=0, http_client=httpx2.Client(transport=transport))


def read_stream(body: bytes) -> Message:
    """The final message of a stream."""
    with (
        client_reading(body, "text/event-stream") as client,
        client.messages.stream(model="m", max_tokens=9, messages=[]) as stream,
    ):
        return stream.get_final_message()


def read_answer(answer: dict[str, object]) -> Message:
    """A message in one piece."""
    with client_reading(msgspec.json.encode(answer), "application/json") as client:
        return client.messages.create(model="m", max_tokens=9, messages=[])


def shown(message: Message) -> list[tuple[Any, ...]]:
    """The blocks, without ids and signatures."""
    found: list[tuple[Any, ...]] = []
    for block in message.content:
        if block.type == "text":
            found.append(("text", block.text))
        elif block.type == "thinking":
            assert block.signature
            found.append(("thinking", block.thinking))
        else:
            assert block.type == "tool_use"
            assert block.id
            found.append(("tool_use", block.name, block.input))
    return found
