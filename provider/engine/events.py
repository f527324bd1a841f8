"""What one generation reports: text deltas, then exactly one terminal event."""

import enum
from typing import TypeAlias

import msgspec


class FinishReason(enum.StrEnum):
    """Why a generation ended; ``ERROR`` comes with a `Failure`."""

    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"
    ERROR = "error"


class Cause(enum.StrEnum):
    """Closed set of engine failures; the request layer maps them to wire codes."""

    INVALID_REQUEST = "invalid_request"
    MODEL_UNAVAILABLE = "model_unavailable"
    QUEUE_FULL = "queue_full"
    REQUEST_EXCEEDS_CONTEXT = "request_exceeds_context"
    REQUEST_EXCEEDS_NODE_BUDGET = "request_exceeds_node_budget"
    TOKEN_BUDGET_EXHAUSTED = "token_budget_exhausted"
    CAPACITY_BUSY = "capacity_busy"
    DEADLINE_UNREACHABLE = "deadline_unreachable"
    ADMISSION_TIMEOUT = "admission_timeout"
    PREFILL_STALL = "prefill_stall"
    DECODE_STALL = "decode_stall"
    SAFETY_DEADLINE = "safety_deadline"
    BACKPRESSURE_TIMEOUT = "backpressure_timeout"
    WATCHDOG = "watchdog"
    ENGINE_ERROR = "engine_error"
    GENERATION_FAILURE = "generation_failure"


class CacheOutcome(enum.StrEnum):
    """What prefix reuse did for a request.

    ``NONE``: nothing was tried, because the request has no scope. ``CAPACITY``: nothing was found, and there was no
    room to keep what was computed, so the next request finds nothing either.
    """

    NONE = ""
    HIT = "hit"
    ABSENT = "miss_absent"
    COST = "skipped_cost"
    CAPACITY = "skipped_capacity"


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens as the engine counted them: all prompt ids, and sampled ids including the ending token.

    `cached_tokens` of the prompt were taken from a stored prefix and not computed.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    cache_outcome: CacheOutcome = CacheOutcome.NONE


class TokenLogprob(msgspec.Struct, frozen=True, gc=False):
    """A sampled token's log-probability before any processor, and the most likely (token, log-probability) pairs."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


class Delta(msgspec.Struct, frozen=True, gc=False):
    """New visible text, never empty, and the number of tokens sampled since the delta before it.

    `logprobs` describe the tokens of this text, where they were asked for.
    """

    text: str
    tokens: int
    logprobs: tuple[TokenLogprob, ...] = ()


class Failure(msgspec.Struct, frozen=True, gc=False):
    """A failed generation; `text` is fixed English without any request content."""

    cause: Cause
    text: str
    available_tokens: int | None = None


class Finished(msgspec.Struct, frozen=True):
    """The terminal event of a generation; `queued_seconds` is how long it waited for its row, None if it got none."""

    reason: FinishReason
    usage: Usage
    stop_sequence: str | None = None
    failure: Failure | None = None
    queued_seconds: float | None = None


EngineEvent: TypeAlias = Delta | Finished
