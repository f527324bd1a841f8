"""Answering one inference request: ask, wait for the first output, then stream or collect.

Invariant: no byte of a streamed answer leaves before output or the end is there, so that a failure keeps its status.
"""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing

import msgspec

from protocol.api.ending import UsageReport
from protocol.api.shapes import AnswerFacts, StreamAssembler, WholeAssembler
from protocol.messages.from_provider import InferenceComplete
from provider.local.asker import LocalAsker, LocalAttempt
from provider.local.dialects import Asked, CheckModel, ReadBody
from provider.local.failures import api_error
from provider.local.http_server import Send, Streamed, Whole
from provider.local.options import MAX_BODY_BYTES

EVENT_STREAM = (("Content-Type", "text/event-stream"), ("X-Accel-Buffering", "no"))
JSON = (("Content-Type", "application/json"),)

_Batches = AsyncIterator[list[bytes]]


async def answer_inference(
    asker: LocalAsker,
    read: ReadBody,
    body: bytes,
    *,
    check_model: CheckModel,
    wall_clock: Callable[[], float] = time.time,
) -> Whole | Streamed:
    """Answer one body; raises `ApiError` for what is refused or fails before its first output."""
    asked = read(body, check_model, MAX_BODY_BYTES)
    chat = asked.chat
    max_tokens = chat.output_bound()
    sealed_body = chat.provider_body(chat.public_model, max_tokens, limit_bytes=MAX_BODY_BYTES)
    stack = AsyncExitStack()
    async with stack:
        attempt = await stack.enter_async_context(asker.ask(sealed_body))
        facts = AnswerFacts(
            job_id=attempt.request_id.removeprefix("local-"),
            public_model=chat.public_model,
            created=int(wall_clock()),
            requested_max=max_tokens,
            prompt_tokens=chat.prompt_tokens_estimate,
            include_usage=chat.include_usage,
        )
        batches = await stack.enter_async_context(aclosing(attempt.batches()))
        if not chat.stream:
            return await _whole(asked, facts, attempt, batches)
        stream = asked.dialect.new_stream(facts)
        first = await _first_output(stream, attempt, batches)
        rest = stack.pop_all()
    return Streamed(_Production(stream, attempt, batches, first, rest, chat.public_model), EVENT_STREAM)


class _Production:
    """The rest of a stream, run by the connection; the request ends with it, however it ends."""

    def __init__(
        self,
        stream: StreamAssembler,
        attempt: LocalAttempt,
        batches: _Batches,
        first: bytes,
        rest: AsyncExitStack,
        model: str,
    ) -> None:
        self._stream = stream
        self._attempt = attempt
        self._batches = batches
        self._first = first
        self._rest = rest
        self._model = model

    async def __call__(self, send: Send) -> None:
        async with self._rest:
            await send(self._first)
            async for plaintexts in self._batches:
                await send(_fed(self._stream, plaintexts))
            await send(self._end())

    def _end(self) -> bytes:
        complete = self._attempt.complete
        if complete is not None:
            return self._stream.finish(usage_report(complete), stop_sequence=complete.stop_sequence)
        assert self._attempt.failure is not None
        return self._stream.fail(api_error(self._attempt.failure, model=self._model))


async def _first_output(stream: StreamAssembler, attempt: LocalAttempt, batches: _Batches) -> bytes:
    """Wait until something is to be sent, or until the end; raises `ApiError` for a failure before that."""
    async for plaintexts in batches:
        ready = _fed(stream, plaintexts)
        if ready:
            return ready
    _raise_failure(attempt, "")
    return b""


async def _whole(asked: Asked, facts: AnswerFacts, attempt: LocalAttempt, batches: _Batches) -> Whole:
    answer: WholeAssembler = asked.dialect.new_answer(facts)
    async for plaintexts in batches:
        for plaintext in plaintexts:
            answer.feed(plaintext)
    _raise_failure(attempt, asked.chat.public_model)
    complete = attempt.complete
    assert complete is not None
    content = answer.finish(usage_report(complete), stop_sequence=complete.stop_sequence)
    return Whole(200, msgspec.json.encode(content), JSON)


def _fed(stream: StreamAssembler, plaintexts: list[bytes]) -> bytes:
    return b"".join(piece.ready for plaintext in plaintexts for piece in stream.feed(plaintext))


def _raise_failure(attempt: LocalAttempt, model: str) -> None:
    if attempt.failure is not None:
        raise api_error(attempt.failure, model=model)


def usage_report(complete: InferenceComplete) -> UsageReport:
    """The counts of the terminal."""
    usage = complete.usage
    return UsageReport(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cached_tokens=usage.cached_tokens,
    )
