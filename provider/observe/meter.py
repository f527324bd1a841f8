"""Counting what goes out for each request, seen at the one place where every frame passes: its lane.

The content of frames is sealed and stays so; terminals say in closed words how a request ended.
"""

import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Final, Protocol

from protocol.codec import FrameRejected, decode_from_provider
from protocol.messages.from_provider import InferenceComplete, InferenceError
from provider.observe.first_tokens import FirstTokenTimes
from provider.observe.throughput import Throughput
from provider.requests.ports import FrameLane

_CHUNK: Final = b'{"type":"inference_response_chunk"'
_ACCEPTED: Final = b'{"type":"inference_accepted"'


_REQUEST: Final[ContextVar["MeteredLane | None"]] = ContextVar("request", default=None)
"""The lane of the request that a task serves: tasks inherit it from where they were started."""


class RequestRecord(Protocol):
    """Takes what is known when a request ended; seconds, None for what did not happen."""

    def ended(
        self,
        *,
        outcome: str,
        source: str,
        model: str,
        prompt_tokens: int,
        completion_tokens: int,
        cache_outcome: str,
        first_seconds: float | None,
        per_token_seconds: float | None,
    ) -> None:
        """Count one request."""


class RequestMeter:
    """Wraps lanes. `source` of a request is `coordinator` or `local`."""

    def __init__(
        self, record: RequestRecord, throughput: Throughput, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.throughput: Final = throughput
        self.first_tokens: Final = FirstTokenTimes(clock)
        self._record = record
        self._clock = clock

    def lane(self, lane: FrameLane, *, source: str) -> "MeteredLane":
        """Give a lane that counts and passes on; the request's task is to be started after this, from here."""
        metered = MeteredLane(lane, self._record, self, source, self._clock)
        _REQUEST.set(metered)
        return metered

    def note_model(self, model: str) -> None:
        """Say which model the request of this task is for; it stands inside the sealed body and is known late."""
        lane = _REQUEST.get()
        if lane is not None:
            lane.model = model


class MeteredLane:
    """A lane of one request."""

    __slots__ = ("_clock", "_first", "_had_load", "_lane", "_last", "_meter", "_record", "_source", "_started", "model")

    def __init__(
        self,
        lane: FrameLane,
        record: RequestRecord,
        meter: RequestMeter,
        source: str,
        clock: Callable[[], float],
    ) -> None:
        self.model = ""
        self._lane = lane
        self._record = record
        self._meter = meter
        self._had_load = False
        self._source = source
        self._clock = clock
        self._started = clock()
        self._first = 0.0
        self._last = 0.0

    @property
    def owner(self) -> object:
        """See `FrameLane`."""
        return self._lane.owner

    def put(self, frame: bytes) -> None:
        """See `FrameLane`."""
        if frame.startswith(_CHUNK):
            self._last = self._clock()
            self._first = self._first or self._last
            self._meter.throughput.note(self._last)
        elif frame.startswith(_ACCEPTED):
            self._had_load = True
        else:
            self._end(frame)
        self._lane.put(frame)

    async def room(self) -> None:
        """See `FrameLane`."""
        await self._lane.room()

    def hurry(self) -> None:
        """See `FrameLane`."""
        self._lane.hurry()

    def _end(self, frame: bytes) -> None:
        try:
            message = decode_from_provider(frame)
        except FrameRejected:
            return
        first = self._first - self._started if self._first else None
        match message:
            case InferenceComplete():
                tokens = message.usage.completion_tokens
                if first is not None and not self._had_load:
                    self._meter.first_tokens.note(self.model, message.usage.prompt_tokens, first)
                spread = (self._last - self._first) / (tokens - 1) if self._first and tokens > 1 else None
                self._record.ended(
                    outcome="complete",
                    source=self._source,
                    model=self.model,
                    prompt_tokens=message.usage.prompt_tokens,
                    completion_tokens=tokens,
                    cache_outcome=message.usage.cache_outcome,
                    first_seconds=first,
                    per_token_seconds=spread,
                )
            case InferenceError():
                self._record.ended(
                    outcome=message.failure_code or "internal_failure",
                    source=self._source,
                    model=self.model,
                    prompt_tokens=0,
                    completion_tokens=0,
                    cache_outcome="",
                    first_seconds=first,
                    per_token_seconds=None,
                )
            case _:
                return
