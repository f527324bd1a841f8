"""The reading side of one provider connection: bytes into the pump, its events to attempts and handlers, in order.

Invariant: one task reads, and everything a frame causes is done before the next frame is looked at.
Invariant: a view that the transport returned is used up before anything else may run.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

import trio

import native
from native import (
    EV_BAD_TEXT,
    EV_CLOSE,
    EV_FATAL,
    EV_MESSAGE,
    EV_OPAQUE,
    EV_OPENED,
    EV_PING,
    EV_PONG,
    EV_RUN,
    EV_STUCK,
    EV_VIOLATION,
)
from protocol.codec import FrameRejected, decode_from_provider
from protocol.messages.from_provider import Register
from server.link import ending, rejected
from server.link.admission import FloodGuard
from server.link.attempts import VIOLATION_RULES, Attempt
from server.link.inbound import handle
from server.link.registration import register
from server.link.state import SessionState
from server.link.transport import TransportLost

if TYPE_CHECKING:
    from native import Event
    from server.link.meter import LinkEvent
    from server.link.session import ProviderSession

# A reader that always finds bytes gives the other tasks a turn at least this often; the clock is read once per batch.
_SLICE_SECONDS = 0.002
_ANSWER_SECONDS = 5.0
_BATCH_EVENTS = 32

_INVALID: dict[str, LinkEvent] = {
    "malformed": "frame_malformed",
    "type": "frame_type",
    "unknown": "frame_unknown",
    "invalid": "frame_invalid",
}


class Reader:
    """Reads one connection to its end; owned by the session's own task."""

    __slots__ = ("_clock", "_flood", "_session", "_slice_end", "read_all")

    def __init__(self, session: ProviderSession) -> None:
        """Read for this session."""
        self._session = session
        self._flood = FloodGuard(session.context.settings)
        self._clock = trio.lowlevel.current_clock().current_time
        self._slice_end = 0.0
        """When the present slice ends; 0 after every wait, because that gave the others their turn."""
        self.read_all = False
        """The peer said goodbye: there is nothing left to read."""

    async def run(self, answer: bytes, data: bytes | memoryview) -> None:
        """Send the upgrade answer, then feed the pump until the connection ends; `data` was read already."""
        session = self._session
        transport = session.transport
        receive = transport.receive
        feed = session.pump.feed
        clock = self._clock
        dispatch = self.dispatch
        try:
            with trio.fail_after(_ANSWER_SECONDS):
                await transport.send_all(answer)
            while True:
                if events := feed(data, clock()):
                    if len(events) > _BATCH_EVENTS or session.state is SessionState.OPEN:
                        await self._take(events)
                    else:
                        dispatch(events)
                    if self.read_all:
                        return
                if session.quiet:
                    await self._take(await session.park(self))
                    if self.read_all:
                        return
                if not transport.waited:
                    await self._yield_if_due()
                data = await receive()
                if transport.waited:
                    self._slice_end = 0.0
                if not data:
                    break
        except (TransportLost, trio.TooSlowError):
            pass
        ending.lose(session)

    async def _take(self, events: list[Event]) -> None:
        """Handle events in batches, with a turn for the other tasks in between when the slice is over."""
        count = len(events)
        for start in range(0, count, _BATCH_EVENTS):
            if start:
                await self._yield_if_due()
            batch = events[start : start + _BATCH_EVENTS]
            if self._session.state is SessionState.OPEN:
                await self._take_open(batch)
            else:
                self.dispatch(batch)

    async def _take_open(self, batch: list[Event]) -> None:
        """Handle a batch that may hold the registration: what stands behind it waits until it is done."""
        done = 0
        for position, (kind, _owner, payload, _a, _b) in enumerate(batch):
            if kind != EV_MESSAGE:
                continue
            self.dispatch(batch[done:position])
            done = position
            if self._session.state is not SessionState.OPEN:
                break
            done += 1
            await self._before_registration(payload)
        self.dispatch(batch[done:])

    async def _yield_if_due(self) -> None:
        """Count the slice from the first batch after a wait, and give the others their turn when it is over."""
        now = time.perf_counter()
        if self._slice_end and now >= self._slice_end:
            await trio.lowlevel.checkpoint()
            now = time.perf_counter()
            self._slice_end = 0.0
        if not self._slice_end:
            self._slice_end = now + _SLICE_SECONDS

    def dispatch(self, batch: list[Event]) -> None:
        """Handle events in order, without a checkpoint."""
        session = self._session
        ping: bytes | None = None
        for kind, attempt, payload, a, b in cast("list[tuple[int, Attempt, bytes, int, int]]", batch):
            if kind == EV_RUN:
                if attempt.live:
                    attempt.sink.on_run(payload, a, b)
            elif kind == EV_OPENED:
                if attempt.live:
                    attempt.sink.on_opened(payload)
            elif kind == EV_MESSAGE:
                if session.state is SessionState.REGISTERED:
                    self._message(payload)
            elif kind == EV_OPAQUE:
                if attempt.live:
                    attempt.sink.on_opaque(payload)
            elif kind == EV_PING:
                ping = payload
            else:
                self._rare_event(kind, attempt, a)
        if ping is not None:
            session.writer.pong(native.encode_frame(native.OP_PONG, ping))
        if session.doomed:
            ending.close_if_doomed(session)

    def _rare_event(self, kind: int, attempt: Attempt, a: int) -> None:
        session = self._session
        if kind == EV_STUCK:
            if attempt.live:
                attempt.sink.on_stuck()
        elif kind == EV_PONG:
            session.liveness.pong_at = trio.current_time()
        elif kind == EV_VIOLATION:
            session.attempts.violated(attempt, VIOLATION_RULES[a])
        elif kind == EV_BAD_TEXT:
            session.attempts.bad_text(attempt)
        elif kind == EV_CLOSE:
            self.read_all = True
            ending.peer_closed(session, a)
        elif kind == EV_FATAL:
            session.count("frame_fatal")
            session.close(a, "the frame breaks the protocol's limits")

    def _message(self, payload: bytes) -> None:
        try:
            message = decode_from_provider(payload)
        except FrameRejected as error:
            self._invalid(_INVALID[error.kind])
            rejected.end_attempt(self._session.attempts, payload, error)
            return
        handle(self._session, message, self._clock())

    async def _before_registration(self, payload: bytes) -> None:
        try:
            message = decode_from_provider(payload)
        except FrameRejected as error:
            self._invalid(_INVALID[error.kind])
            return
        if isinstance(message, Register):
            await register(self._session, message)
        else:
            self._invalid("frame_before_register")

    def _invalid(self, event: LinkEvent) -> None:
        self._session.count(event)
        if self._flood.flooded(trio.current_time()):
            self._session.count("invalid_flood")
            self._session.close(1008, "too many invalid frames")
