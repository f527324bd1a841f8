"""One request inside the engine: its text state, counts and instants.

Invariant: owned by the engine thread; `take` and `finish` decide what its reader sees, and `finish` happens once.
"""

from typing import TYPE_CHECKING, Protocol

from provider.engine.detokenise import Detokeniser, make_detokeniser
from provider.engine.events import (
    CacheOutcome,
    Delta,
    EngineEvent,
    Failure,
    Finished,
    FinishReason,
    TokenLogprob,
    Usage,
)
from provider.engine.request import GenerationRequest
from provider.engine.stops import StopMatcher
from provider.engine.vocabulary import Vocabulary
from provider.engine.window import Window

if TYPE_CHECKING:
    from provider.engine.backend import LogprobSource, RowSampling


MAX_PENDING_LOGPROBS = 4096
"""Tokens without text yet whose log-probabilities are kept; beyond that the oldest are dropped."""


class EventSink(Protocol):
    """Where a row's events go; `push` runs on the trio thread."""

    window: Window

    def push(self, event: EngineEvent) -> None:
        """Take one event."""


Outbox = list[tuple[EventSink, EngineEvent]]


class SavedState:
    """What a paused row keeps: its cache and the tokens that the cache covers."""

    __slots__ = ("cache", "tokens")

    def __init__(self, cache: list[object] | None, tokens: list[int]) -> None:
        self.cache = cache
        self.tokens = tokens


class Row:
    """State of one request from submission to its terminal event. Instants are on the engine's clock, in seconds."""

    __slots__ = (
        "_described",
        "_detokeniser",
        "_eos",
        "_hidden",
        "_source",
        "_stops",
        "_unreported",
        "admitted_at",
        "cache_outcome",
        "cached",
        "first_token_at",
        "generated",
        "has_ended",
        "keep_at",
        "last_token_at",
        "max_tokens",
        "number",
        "paused_at",
        "paused_seconds",
        "prefilled",
        "prefilling",
        "prompt_length",
        "request",
        "reserved",
        "sampling",
        "saved",
        "sink",
        "submitted_at",
        "uid",
    )

    def __init__(
        self,
        number: int,
        request: GenerationRequest,
        sink: EventSink,
        *,
        max_tokens: int,
        vocabulary: Vocabulary,
        eos: frozenset[int],
        now: float,
    ) -> None:
        self.number = number
        self.request = request
        self.sink = sink
        self.prompt_length = len(request.prompt_tokens)
        self.max_tokens = max_tokens
        self.reserved = self.prompt_length + max_tokens
        self.generated = 0
        self.prefilled = 0
        self.prefilling = False
        self.keep_at: tuple[int, ...] = ()
        """Numbers of prefilled tokens after which the cache is to be kept."""

        self.uid: int | None = None
        self.sampling: RowSampling | None = None
        self.saved: SavedState | None = None
        self.submitted_at = now
        self.admitted_at: float | None = None
        self.first_token_at: float | None = None
        self.last_token_at: float | None = None
        self.paused_at: float | None = None
        self.paused_seconds = 0.0
        self.has_ended = False
        self.cached = 0
        self.cache_outcome = CacheOutcome.NONE
        self._described: list[TokenLogprob] = []
        self._source: LogprobSource | None = None
        self._eos = eos
        self._hidden = vocabulary.hidden
        self._detokeniser: Detokeniser = make_detokeniser(vocabulary)
        self._stops = StopMatcher(request.stop) if request.stop else None
        self._unreported = 0

    @property
    def usage(self) -> Usage:
        """Tokens so far."""
        return Usage(self.prompt_length, self.generated, self.cached, self.cache_outcome)

    def begin(self, sampling: "RowSampling") -> None:
        """Take what the row samples with."""
        self.sampling = sampling
        self._source = sampling.logprobs

    def take(self, token: int, now: float, out: Outbox) -> bool:
        """Account one sampled token and post its text; True if it completed a stop string."""
        self.generated += 1
        self._unreported += 1
        self.last_token_at = now
        if self._source is not None:
            self._describe(token)
        if token in self._eos:
            return False
        text = self._detokeniser.add(token)
        if not text:
            return False
        stops = self._stops
        if stops is not None:
            text = stops.feed(text)
            if text:
                self._post(text, out)
            return stops.matched is not None
        self._post(text, out)
        return False

    def end_pause(self, now: float) -> None:
        """The row goes on; the pause does not count as decoding time."""
        if self.paused_at is not None:
            self.paused_seconds += now - self.paused_at
        self.paused_at = None
        self.last_token_at = now
        self.sink.window.paused = False

    def finish(self, reason: FinishReason, out: Outbox, *, failure: Failure | None = None) -> None:
        """Post held text (after a normal end) and the terminal event."""
        stops = self._stops
        matched = stops.matched if stops is not None else None
        if matched is None and reason in (FinishReason.STOP, FinishReason.LENGTH):
            text = self._detokeniser.flush()
            if stops is not None:
                text = stops.feed(text) if text else ""
                matched = stops.matched
                text += stops.flush()
            if text:
                self._post(text, out)
        if matched is not None and reason is FinishReason.LENGTH:
            reason = FinishReason.STOP
        queued = None if self.admitted_at is None else self.admitted_at - self.submitted_at
        out.append((self.sink, Finished(reason, self.usage, matched, failure, queued)))

    def _describe(self, token: int) -> None:
        """Keep a visible token's log-probability for the event with its text."""
        assert self._source is not None
        described = self._source.take(token)
        if token not in self._eos and token not in self._hidden:
            self._described.append(described)
            del self._described[:-MAX_PENDING_LOGPROBS]

    def _post(self, text: str, out: Outbox) -> None:
        if self._described:
            out.append((self.sink, Delta(text, self._unreported, tuple(self._described))))
            self._described.clear()
        else:
            out.append((self.sink, Delta(text, self._unreported)))
        self._unreported = 0
        self.sink.window.posted += 1
