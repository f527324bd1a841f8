"""Asking a local server for one streamed chat answer."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

import httpx
import msgspec


class AnswerFailed(Exception):
    """The server refused or broke off; the text is its sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One turn: the whole conversation so far, and how to sample."""

    model: str
    messages: Sequence[dict[str, str]]
    max_tokens: int | None = None
    temperature: float | None = None


class _Delta(msgspec.Struct, frozen=True):
    content: str | None = None
    reasoning_content: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    delta: _Delta = _Delta()


class _Error(msgspec.Struct, frozen=True):
    message: str = ""


class _Event(msgspec.Struct, frozen=True):
    choices: tuple[_Choice, ...] = ()
    error: _Error | None = None


async def stream_chat(base_url: str, token: str, asked: Asked) -> AsyncGenerator[tuple[str, str], None]:
    """Give (reasoning, text) pieces as they come; `base_url` ends with `/v1`. Raises `AnswerFailed`."""
    body: dict[str, object] = {"model": asked.model, "messages": list(asked.messages), "stream": True}
    if asked.max_tokens is not None:
        body["max_tokens"] = asked.max_tokens
    if asked.temperature is not None:
        body["temperature"] = asked.temperature
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        async with (
            httpx.AsyncClient(trust_env=False, timeout=httpx.Timeout(30, read=None)) as client,
            client.stream("POST", f"{base_url}/chat/completions", json=body, headers=headers) as answer,
        ):
            if answer.status_code != 200:
                raise AnswerFailed(_sentence(await answer.aread()))
            async for line in answer.aiter_lines():
                if not line.startswith("data: ") or line == "data: [DONE]":
                    continue
                event = msgspec.json.decode(line[6:], type=_Event)
                if event.error is not None:
                    raise AnswerFailed(event.error.message or "The answer broke off.")
                for choice in event.choices:
                    yield choice.delta.reasoning_content or "", choice.delta.content or ""
    except httpx.HTTPError as error:
        raise AnswerFailed(f"The local server does not answer ({type(error).__name__}).") from None


def _sentence(content: bytes) -> str:
    try:
        return msgspec.json.decode(content, type=_Event).error.message  # type: ignore[union-attr]
    except (msgspec.DecodeError, AttributeError, UnicodeDecodeError):
        return "The local server refused the request."
