"""The course of one request, in its fixed order; every way out of it is one terminal frame.

Source: provider rules, request life-cycle.
"""

import logging
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from protocol.codec import encode
from protocol.messages.from_provider import InferenceAccepted, InferenceComplete, InferenceError
from protocol.messages.to_provider import InferenceRequest
from provider.engine import Finished, FinishReason, Generation, LoadedModel
from provider.models.source import LoadRefused
from provider.observe.place import last_place
from provider.requests.answer import Answer
from provider.requests.body import Order
from provider.requests.constrain import constrained
from provider.requests.frames import EventWriter
from provider.requests.opening import Opened, is_small, open_order
from provider.requests.ports import FrameLane
from provider.requests.refusal import (
    CANCELLED,
    DEADLINE,
    DRAINING,
    INTERNAL,
    NONCOMPLIANT,
    NOT_ADVERTISED,
    OF_LOAD,
    SEALING_FAILED,
    SHORT_OF_MEMORY,
    RequestRefused,
    error_frame,
    of_failure,
)
from provider.requests.render import Rendered, render_order

if TYPE_CHECKING:
    from provider.requests.desk import RequestDesk

log = logging.getLogger(__name__)

Terminal = InferenceComplete | InferenceError
_LOG_REFUSAL: Final = "request refused"


class RequestLife:
    """One request; `run` is called once."""

    def __init__(self, desk: "RequestDesk", message: InferenceRequest, lane: FrameLane, *, received_at: float) -> None:
        self.request_id: Final = message.request_id
        self.is_admitted = False
        self._desk = desk
        self._services = desk.services
        self._message = message
        self._lane = lane
        budget = message.first_content_budget_ms
        self._deadline = received_at + budget / 1000 if budget > 0 else None
        self._scope = trio.CancelScope()
        self._generation: Generation | None = None
        self._is_loading = False
        self._is_cancelled = False
        self._is_abandoned = False

    def belongs_to(self, owner: object) -> bool:
        """Whether this request came over that connection's lanes."""
        return self._lane.owner is owner

    def cancel(self) -> None:
        """End early with a terminal: at once before the engine has the request, through the engine afterwards."""
        if self._is_loading:
            self._services.counters.cancel_during_model_load += 1
        if self._generation is None:
            self._scope.cancel()
        else:
            self._is_cancelled = True
            self._lane.hurry()
            self._generation.cancel()

    def abandon(self) -> None:
        """End at once and silently, because nobody can hear a terminal."""
        self._is_abandoned = True
        self._scope.cancel()

    async def run(self) -> None:
        """Run to the end and queue the terminal; only cancellation from outside raises."""
        terminal: Terminal | None = None
        with self._scope:
            terminal = await self._serve()
        if self._is_abandoned:
            self._services.counters.stream_closed_without_terminal += 1
            return
        if terminal is None:
            self._services.counters.cancellations_before_output += 1
            terminal = error_frame(self.request_id, CANCELLED)
        self._lane.put(encode(terminal))

    async def _serve(self) -> Terminal:
        try:
            return await self._open_and_answer()
        except RequestRefused as refused:
            refusal = refused.refusal
            if refusal is SEALING_FAILED:
                self._services.counters.chunk_encryption_errors += 1
            log.info(
                _LOG_REFUSAL, extra={"request_id": self.request_id, "code": refusal.code, "reason": refusal.reason}
            )
            return error_frame(self.request_id, refusal)
        except Exception as error:  # a fault of ours must still end in one terminal, and its text may hold content
            place = last_place(error)
            log.error(
                "request failed", extra={"request_id": self.request_id, "fault": type(error).__name__, "place": place}
            )
            return error_frame(self.request_id, INTERNAL)

    async def _open_and_answer(self) -> Terminal:
        opened = await self._open()
        try:
            order = opened.order
            if not self._services.is_advertised(order.model):
                raise RequestRefused(NOT_ADVERTISED)
            self._check_deadline()
            # From here to the pin there is no checkpoint: a drain that begins now waits for this request.
            self.is_admitted = self._desk.admit()
            if not self.is_admitted:
                raise RequestRefused(DRAINING)
            with self._services.slots.pin(order.model):
                return await self._answer(opened)
        finally:
            opened.shared.wipe()

    async def _open(self) -> Opened:
        sealed, keys = self._message.encrypted_body, self._services.keys
        if is_small(sealed):
            return open_order(sealed, keys)
        # A thread cannot be stopped: on cancellation its result, and with it the key, is awaited and wiped.
        with trio.CancelScope(shield=True):
            opened = await trio.to_thread.run_sync(open_order, sealed, keys, limiter=self._services.threads)
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled:
            opened.shared.wipe()
            raise
        return opened

    async def _answer(self, opened: Opened) -> Terminal:
        order = opened.order
        model = await self._loaded(order)
        self._check_deadline()
        rendered: Rendered = await trio.to_thread.run_sync(
            partial(render_order, model, order, self._deadline, cache_scope=self._message.cache_scope),
            limiter=self._services.renderer,
            abandon_on_cancel=True,
        )
        self._services.counters.biases_dropped += rendered.biases_dropped
        rendered = await constrained(model, rendered, threads=self._services.threads)
        self._check_deadline()
        writer = EventWriter(
            request_id=self.request_id,
            model=order.model,
            created=int(self._services.wall_clock()),
            shape="chat" if order.prompt is None else "text",
        )
        answer = Answer(
            request_id=self.request_id,
            writer=writer,
            plan=rendered.plan,
            shared=opened.shared,
            public_key=self._services.keys.public_text,
            lane=self._lane,
        )
        try:
            self._generation = self._services.engine.submit(rendered.request)
            async with self._generation as generation:
                return await self._stream(generation, answer)
        finally:
            answer.wipe()

    async def _loaded(self, order: Order) -> LoadedModel:
        """Give the model; a load is announced first, because it moves the coordinator to its long limit."""
        model = self._services.slots.get(order.model)
        if model is not None:
            return model
        if not self._services.slots.takes_loads:
            raise RequestRefused(SHORT_OF_MEMORY)
        self._lane.put(encode(InferenceAccepted(request_id=self.request_id)))
        self._is_loading = True
        self._desk.note_load()
        try:
            return await self._services.slots.ensure_loaded(order.model)
        except LoadRefused as refused:
            kind = refused.kind
        finally:
            self._is_loading = False
            self._desk.note_load()
        raise RequestRefused(OF_LOAD[kind])

    async def _stream(self, generation: Generation, answer: Answer) -> Terminal:
        try:
            while True:
                for event in await generation.receive_batch():
                    if isinstance(event, Finished):
                        return await self._end(event, answer)
                    if not self._is_cancelled:
                        await answer.send_delta(event)
        except RequestRefused:
            if answer.has_output:
                self._services.counters.generation_errors_after_output += 1
            raise

    async def _end(self, finished: Finished, answer: Answer) -> Terminal:
        counters = self._services.counters
        match finished.reason:
            case FinishReason.STOP | FinishReason.LENGTH:
                try:
                    await answer.send_end(finished)
                except RequestRefused as refused:
                    if refused.refusal is not NONCOMPLIANT:
                        raise
                    return error_frame(self.request_id, NONCOMPLIANT, usage=answer.usage(finished))
                counters.requests_served += 1
                counters.tool_calls_spoiled += answer.spoiled_calls
                if answer.dropped_logprobs:
                    log.info(
                        "log-probabilities dropped",
                        extra={"request_id": self.request_id, "count": answer.dropped_logprobs},
                    )
            case FinishReason.CANCELLED if answer.has_output:
                counters.cancellations_partial_complete += 1
            case FinishReason.CANCELLED:
                counters.cancellations_before_output += 1
                return error_frame(self.request_id, CANCELLED)
            case FinishReason.ERROR:
                return self._failed(finished, answer)
        counters.tokens_generated += finished.usage.completion_tokens
        if finished.queued_seconds is not None:
            self._services.note_queued(finished.queued_seconds)
        return answer.complete_frame(finished, self._services.signer)

    def _failed(self, finished: Finished, answer: Answer) -> Terminal:
        refusal = of_failure(finished.failure)
        if answer.has_output:
            self._services.counters.generation_errors_after_output += 1
        words = {"code": refusal.code, "reason": refusal.reason, "cause": refusal.cause}
        log.info(_LOG_REFUSAL, extra={"request_id": self.request_id, **words})
        return error_frame(
            self.request_id,
            refusal,
            usage=answer.usage(finished),
            available_tokens=None if finished.failure is None else finished.failure.available_tokens,
        )

    def _check_deadline(self) -> None:
        if self._deadline is not None and self._services.clock() >= self._deadline:
            raise RequestRefused(DEADLINE)
