"""The official SDKs reading given bytes, over a transport in memory: what a client makes of one answer."""

from __future__ import annotations

from typing import Any

import anthropic
import httpx2
import openai

STREAM = {"content-type": "text/event-stream"}
MODEL = "m"


def openai_client(body: bytes) -> openai.OpenAI:
    """A client to which every request is answered with these bytes as an event stream."""
    transport = httpx2.MockTransport(lambda _request: httpx2.Response(200, headers=STREAM, content=body))
    return openai.OpenAI(
        base_url="http://replay/v1", api_key="k", max_retries=0, http_client=httpx2.Client(transport=transport)
    )


def anthropic_client(body: bytes) -> anthropic.Anthropic:
    """The same for Anthropic's SDK."""
    transport = httpx2.MockTransport(lambda _request: httpx2.Response(200, headers=STREAM, content=body))
    return anthropic.Anthropic(
        base_url="http://replay", api_key="k", max_retries=0, http_client=httpx2.Client(transport=transport)
    )


def read_chat(body: bytes) -> dict[str, Any]:
    """What the accumulator of chat completions makes of a stream."""
    asked: Any = {"model": MODEL, "messages": [{"role": "user", "content": "x"}]}
    with openai_client(body) as client, client.chat.completions.stream(**asked) as stream:
        return stream.get_final_completion().to_dict()


def read_response(body: bytes) -> dict[str, Any]:
    """What the accumulator of responses makes of a stream."""
    with openai_client(body) as client, client.responses.stream(model=MODEL, input="x") as stream:
        return stream.get_final_response().to_dict()


def read_completion(body: bytes) -> dict[str, Any]:
    """The chunks of a stream of legacy completions, joined; their SDK has no accumulator."""
    with openai_client(body) as client:
        chunks = list(client.completions.create(model=MODEL, prompt="x", stream=True))
    text = "".join(choice.text for chunk in chunks for choice in chunk.choices)
    reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    return {"text": text, "reasons": reasons, "usage": chunks[-1].to_dict().get("usage")}


def read_message(body: bytes) -> dict[str, Any]:
    """What the accumulator of messages makes of a stream."""
    asked: Any = {"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    with anthropic_client(body) as client, client.messages.stream(**asked) as stream:
        return stream.get_final_message().to_dict()
