"""Sends one attempt: seal the body for the chosen provider, enter the attempt at its channel, write the frame."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

from protocol.codec import inference_request_frame
from protocol.failure import encryption_violation
from protocol.sealing import SealedRequest, SealingError, seal_for_provider
from server.ports import ChannelError
from server.relay.watch import completion_missing

if TYPE_CHECKING:
    from server.relay.attempt import Attempt
    from server.relay.clocks import ContentClock, RelayTimes


async def send_attempt(
    attempt: Attempt,
    body: bytes,
    *,
    clock: ContentClock,
    scope: trio.CancelScope,
    cache_scope: str,
    inline_bytes: int,
) -> None:
    """Seal and send; every failure ends up in the attempt, none is raised.

    `scope` surrounds this call and gets the clock's deadline; `await_content` says what its passing means. Cancelled
    while the frame is queued, the frame is withdrawn; the key is wiped on every path on which the channel did not take
    it over.
    """
    if not attempt.is_pending():
        return
    try:
        sealed = await _seal(body, attempt.channel.public_key, inline_bytes)
    except SealingError:
        attempt.unusable(encryption_violation())
        return
    now = attempt.now()
    attempt.timing.sealed(now)
    frame = inference_request_frame(
        request_id=attempt.request_id,
        ephemeral_public_key=sealed.ephemeral_public_key,
        ciphertext=sealed.ciphertext,
        first_content_budget_ms=clock.remaining_ms(now),
        cache_scope=cache_scope,
    )
    # No checkpoint between this look at the attempt and the attachment: afterwards the channel owns the key.
    if not attempt.is_pending():
        sealed.shared.wipe()
        return
    try:
        attempt.channel.attach(attempt, sealed.shared)
    except ChannelError as error:
        attempt.not_sent(error)
        return
    try:
        scope.deadline = clock.deadline
        await attempt.channel.send_request(attempt.request_id, frame)
        attempt.sent()
    except ChannelError as error:
        attempt.not_sent(error)


async def await_content(
    attempt: Attempt, clock: ContentClock, times: RelayTimes, woken: Wakeup, *, until: float = math.inf
) -> None:
    """Wait until the attempt is committed or over, or until a moment; the clock may grow meanwhile.

    A provider that ended without content owes its completion message at once.
    """
    while attempt.is_pending():
        with trio.move_on_at(min(next_due(attempt, clock, times), until)):
            await woken.wait()
        now = trio.current_time()
        look_at_clock(attempt, clock, times, now)
        if now >= until:
            return


def next_due(attempt: Attempt, clock: ContentClock, times: RelayTimes) -> float:
    """The moment at which a pending attempt has to be looked at."""
    if attempt.ending:
        return min(attempt.last_chunk_at + times.completion, clock.deadline)
    return clock.deadline


def look_at_clock(attempt: Attempt, clock: ContentClock, times: RelayTimes, now: float) -> None:
    """End an attempt that missed its deadline or owes its completion for too long; one that is over hears nothing."""
    if not attempt.is_pending():
        return
    if now >= clock.deadline:
        attempt.late()
    elif attempt.ending and now >= attempt.last_chunk_at + times.completion:
        attempt.cut(completion_missing())


async def _seal(body: bytes, public_key: bytes, inline_bytes: int) -> SealedRequest:
    if len(body) <= inline_bytes:
        return seal_for_provider(body, public_key)
    return await trio.to_thread.run_sync(seal_for_provider, body, public_key)


class Wakeup:
    """Wakes the one task that owns a request; a call while it is busy is kept for its next wait."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def __call__(self) -> None:
        """Wake the task; never blocks."""
        self._event.set()

    async def wait(self) -> None:
        """Sleep until the next call."""
        await self._event.wait()
        self._event = trio.Event()
