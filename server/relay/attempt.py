"""One attempt at one provider: hears the link's reader, drives the reducer, performs its effects on the spot.

Invariant: every method called by the reader is synchronous, never blocks and never raises.
Invariant: capacity is released before a cancel is sent, and exactly once. Owner: the request's task in the relay.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

import trio

from protocol.api.chat_answer import AnswerTooLarge
from protocol.failure import (
    AttemptFailure,
    accepted_timeout,
    bad_text,
    coordinator_fault,
    encryption_violation,
    first_content_timeout,
    send_failed,
)
from server.ports import WriteFailed, WriterStopped, WriteTimeout
from server.relay.attempt_state import BEFORE_COMMIT, TERMINAL, Effect, Event, Phase, advance
from server.relay.chunk_queue import Put

if TYPE_CHECKING:
    from collections.abc import Callable

    from native import SpliceTemplate, Spout
    from protocol.messages.from_provider import InferenceComplete
    from server.ports import ChannelError, ProviderChannel
    from server.relay.chat_sink import ChatSink
    from server.relay.clocks import ContentClock
    from server.relay.timing import AttemptTiming

log = logging.getLogger("darkbloom.relay")


# Looked up once: enum members cost a dictionary walk each time.
_COMMITTED: Final = Phase.COMMITTED
_QUEUED: Final = Put.QUEUED


class CapacityHold(Protocol):
    """The part of a registry reservation that an attempt uses."""

    cold: bool

    def mark_sent(self) -> None:
        """Note that the kernel took the request."""

    def mark_accepted(self, now: float) -> None:
        """Note `inference_accepted`."""

    def mark_streaming(self, now: float) -> None:
        """Note the first chunk."""

    def release(self, now: float | None = None) -> bool:
        """Give the capacity back."""


class Attempt:
    """Implements AttemptSink. `wake` tells the owning task that something happened that it must look at.

    `on_commit` is called in the same step in which content commits the attempt: a rival ends there, before it can
    commit as well.
    """

    def __init__(
        self,
        *,
        request_id: str,
        channel: ProviderChannel,
        hold: CapacityHold,
        sink: ChatSink,
        clock: ContentClock,
        timing: AttemptTiming,
        wake: Callable[[], None],
        on_commit: Callable[[Attempt], None] | None = None,
    ) -> None:
        self.request_id = request_id
        self.channel = channel
        self.sink = sink
        self.timing = timing
        self.phase = Phase.RESERVED
        self.terminal: Effect | None = None
        self.failure: AttemptFailure | None = None
        self.complete: InferenceComplete | None = None
        self.committed = False
        self.accepted = False
        self.channel_broken = False
        """The request could not be sent because the provider's connection is closing or gone."""
        self.spilled = False
        """The queue overflowed; the owner takes the flag back and runs the grace window."""
        self.ending = False
        """The provider said that its text is over: the completion message is due."""
        self._run = sink.run
        self._chat = sink.chat
        self.now = trio.lowlevel.current_clock().current_time
        self._last_up_at = self.now()
        self._hold = hold
        self._clock = clock
        self._wake = wake
        self._on_commit = on_commit
        self._template: SpliceTemplate | None = None

    def __repr__(self) -> str:
        return f"<Attempt {self.request_id} {self.phase.value} deltas={self.sink.deltas}>"

    def is_pending(self) -> bool:
        """True until the attempt is committed or over."""
        return self.phase in BEFORE_COMMIT

    @property
    def last_chunk_at(self) -> float:
        """When the last chunk arrived, whether it came up or went straight out."""
        return max(self._last_up_at, self.sink.written_at)

    # --- the provider's side: AttemptSink ---------------------------------------------------------------------------

    def on_run(self, ready: bytes, deltas: int, text_bytes: int) -> None:
        """See AttemptSink."""
        # The hot path: one call per run of a stream that is under way.
        if self.phase is not _COMMITTED:
            return
        now = self._last_up_at = self.now()
        try:
            put = self._run(ready, deltas, text_bytes, now)
        except AnswerTooLarge:
            self.cut(bad_text())
            return
        except Exception as error:
            # The reader serves other attempts too: a fault of ours must end this one alone.
            log.error("run_delivery_failed", extra={"kind": type(error).__name__})
            self.cut(coordinator_fault())
            return
        if put is not _QUEUED:
            self._crowded(put)

    def on_stuck(self) -> None:
        """See AttemptSink."""
        self.sink.stuck()

    def on_opened(self, plaintext: bytes) -> None:
        """See AttemptSink."""
        if self.phase is not _COMMITTED and self.phase not in BEFORE_COMMIT:
            return
        now = self._last_up_at = self.now()
        try:
            taken = self.sink.opened(plaintext, now)
        except AnswerTooLarge:
            self.cut(bad_text())
            return
        except Exception as error:
            # The reader serves other attempts too: a fault of ours must end this one alone.
            log.error("chunk_normalisation_failed", extra={"kind": type(error).__name__})
            self.cut(coordinator_fault())
            return
        if self.phase in BEFORE_COMMIT:
            self._first_signs(now, content=taken.content)
        chat = self._chat
        template = chat.template
        if template is not self._template and self.phase is _COMMITTED:
            self._template = template
            self.channel.set_template(self.request_id, template)
        if taken.put is not _QUEUED:
            self._crowded(taken.put)
        if chat.ended and not self.ending:
            self.ending = True
            self._wake()

    def on_opaque(self, ct: bytes) -> None:
        """See AttemptSink; attempts of this relay are never attached as opaque."""
        del ct
        self.cut(encryption_violation())

    def on_accepted(self) -> None:
        """See AttemptSink."""
        now = self.now()
        self._hold.mark_accepted(now)
        self.timing.sent(now)
        if self.phase in BEFORE_COMMIT and self._hold.cold and not self.accepted:
            self.accepted = True
            self._clock.accepted(now)
        self.apply(Event.ACCEPTED)
        self._wake()

    def on_complete(self, complete: InferenceComplete) -> None:
        """See AttemptSink."""
        self.complete = complete
        self.apply(Event.COMPLETED)

    def on_error(self, failure: AttemptFailure) -> None:
        """See AttemptSink."""
        self._failed(failure)

    def on_violation(self, rule: str) -> None:
        """See AttemptSink."""
        del rule
        self._failed(encryption_violation())

    def on_bad_text(self) -> None:
        """See AttemptSink."""
        self._failed(bad_text())

    def on_gone(self, failure: AttemptFailure) -> None:
        """See AttemptSink."""
        self._failed(failure)

    # --- the owner's side -------------------------------------------------------------------------------------------

    def connect(self, spout: Spout) -> None:
        """Let the provider's pump write to the consumer; the consumer's side opens the spout when it may."""
        if self.phase is _COMMITTED:
            self.channel.set_spout(self.request_id, spout)

    def sent(self) -> None:
        """The kernel has the whole request."""
        if self.is_pending():
            self._hold.mark_sent()
            self.timing.sent(self.now())
        self.apply(Event.SENT)

    def not_sent(self, error: ChannelError) -> None:
        """The request did not reach the provider; only a frame that had started says anything about it."""
        failure = send_failed()
        self.channel_broken = isinstance(error, WriterStopped | WriteFailed | WriteTimeout)
        if self.is_pending():
            self.failure = failure if error.frame_started else replace(failure, health="neutral")
        self.apply(Event.SEND_FAILED)

    def unusable(self, failure: AttemptFailure) -> None:
        """The attempt cannot be sent at all, for example because the body does not seal."""
        if self.is_pending():
            self.failure = failure
        self.apply(Event.SEND_FAILED)

    def late(self) -> None:
        """The first-content deadline passed."""
        if self.is_pending():
            self.failure = accepted_timeout() if self.accepted else first_content_timeout()
        self.apply(Event.CLOCK)

    def cut(self, failure: AttemptFailure) -> None:
        """Give the provider up: silent for too long, or sending too much."""
        if self.phase in BEFORE_COMMIT or self.phase is Phase.COMMITTED:
            self.failure = failure
        self.apply(Event.CUT)

    def apply(self, event: Event) -> None:
        """Advance the reducer and perform its effects, in their order."""
        self.phase, effects = advance(self.phase, event)
        for effect in effects:
            self._perform(effect)
        if effects:
            self._wake()

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Effect.COMMIT:
                self.committed = True
                self.timing.content(self.now())
                if self._on_commit is not None:
                    self._on_commit(self)
            case Effect.RELEASE:
                if self.committed:  # a later attempt of the request may still need the way out
                    self.sink.stop()
                self._hold.release(self.now())
            case Effect.DETACH:
                self.channel.detach(self.request_id)
            case Effect.CANCEL:
                self.channel.cancel(self.request_id)
            case Effect.PARK:
                pass  # the owner sees the phase and runs the time
            case _ if effect in TERMINAL:
                self.terminal = effect

    def _failed(self, failure: AttemptFailure) -> None:
        if self.phase is not Phase.DONE:
            self.failure = failure
        self.apply(Event.FAILED)

    def _first_signs(self, now: float, *, content: bool) -> None:
        self._hold.mark_streaming(now)
        self.timing.sent(now)
        if content:
            self.apply(Event.CONTENT)
        else:
            self._clock.preamble()
            self.apply(Event.PREAMBLE)

    def _crowded(self, put: Put) -> None:
        """The consumer reads too slowly: note the spill, or end the stream when nothing more can be kept."""
        if put is Put.OVERFLOW:
            self.apply(Event.OVERFLOW)
        elif not self.spilled:
            self.spilled = True
            self._wake()
