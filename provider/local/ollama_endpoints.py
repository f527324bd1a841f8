"""Running the Ollama endpoints: the same asking, other words."""

import time
from contextlib import AsyncExitStack, aclosing
from typing import Protocol

from protocol.api import parse_chat_request
from provider.local.asker import LocalAsker
from provider.local.dialects import CheckModel
from provider.local.failures import api_error
from provider.local.http_server import Send, Streamed, Whole
from provider.local.inference import JSON
from provider.local.ollama import Kind, OllamaAnswer, lower_request
from provider.local.options import MAX_BODY_BYTES

LINES = (("Content-Type", "application/x-ndjson"),)


class Keeper(Protocol):
    """Decides how long models stay loaded."""

    async def unload(self, model_id: str) -> object:
        """Let go of a model if nobody uses it."""

    def keep(self, model_id: str, seconds: float | None) -> None:
        """Let a loaded model stay for so long after its last use; None: as long as usual."""


async def answer_ollama(
    asker: LocalAsker, kind: Kind, body: bytes, *, check_model: CheckModel, shelf: Keeper
) -> Whole | Streamed:
    """Answer `/api/chat` or `/api/generate`; raises `ApiError`. The newest request says how long its model stays."""
    request = lower_request(kind, body)
    chat = parse_chat_request(request.body, check_model=check_model, limit_bytes=MAX_BODY_BYTES)
    model, bound = chat.public_model, chat.output_bound()
    stack = AsyncExitStack()
    async with stack:
        stack.callback(shelf.keep, model, request.keep_alive)
        if request.keep_alive == 0:  # at once, before `keep` is called, which is for a model that others still use
            stack.push_async_callback(shelf.unload, model)
        attempt = await stack.enter_async_context(asker.ask(chat.provider_body(model, bound)))
        job = attempt.request_id.removeprefix("local-").replace("-", "")
        answer = OllamaAnswer(kind, model, job, started=time.monotonic(), created=time.time())
        batches = await stack.enter_async_context(aclosing(attempt.batches()))
        ready = b""
        async for plaintexts in batches:
            ready += b"".join(answer.feed(plaintext) for plaintext in plaintexts)
            if request.stream and ready:
                break
        if attempt.failure is not None:
            raise api_error(attempt.failure, model=model)
        if not request.stream:
            assert attempt.complete is not None
            return Whole(200, answer.whole(attempt.complete, requested_max=bound, now=time.monotonic()), JSON)
        rest = stack.pop_all()

    async def produce(send: Send) -> None:
        async with rest:
            await send(ready)
            async for plaintexts in batches:
                await send(b"".join(answer.feed(plaintext) for plaintext in plaintexts))
            if attempt.complete is not None:
                await send(answer.finish(attempt.complete, requested_max=bound, now=time.monotonic()))
            elif attempt.failure is not None:
                await send(b'{"error":"%b"}\n' % attempt.failure.text.encode())

    return Streamed(produce, LINES)
