"""What a simulated provider answers, and which faults it commits: plain data, one script per request or per session."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A terminal `inference_error` of the provider."""

    status_code: int = 500
    failure_code: str = ""
    error_reason: str = ""
    terminal_cause: str = ""
    error: str = "simulated failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultScript:
    """Faults of one request; steps count content chunks from 0, and None means "never".

    `die_at`, `stall_at`, `fail_at`: before that chunk is sent (0 = before any content). `tamper_at`, `plain_at`,
    `foreign_at`, `mixed_at`: that chunk is sent with a flipped bit, in the clear, under another sender key, or sealed
    with a plaintext beside it. `malformed_at`, `unknown_at`: a broken or an unknown frame goes out before that chunk.
    `obey_cancel=False` plays the answer on after a cancel; `answer_cancel=False` stops without the terminal it owes.
    """

    first_delay_seconds: float = 0.0
    gap_seconds: float = 0.0
    accept: bool = False
    preamble: bool = True
    die_at: int | None = None
    stall_at: int | None = None
    fail_at: int | None = None
    failure: Failure = field(default_factory=Failure)
    tamper_at: int | None = None
    plain_at: int | None = None
    foreign_at: int | None = None
    mixed_at: int | None = None
    malformed_at: int | None = None
    unknown_at: int | None = None
    obey_cancel: bool = True
    answer_cancel: bool = True
    terminal: bool = True
    events_per_chunk: int = 1
    chunks_per_write: int = 1
    corked: bool = False
    """Everything from the first chunk to the terminal leaves in one write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionScript:
    """Faults of one connection."""

    register: bool = True
    challenge: Literal["answer", "ignore", "wrong_signature"] = "answer"
    stop_reading_after_register: bool = False
    reuse_blob: bool = False
    heartbeat_seconds: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The text of one answer, piece by piece, and its usage."""

    pieces: Sequence[str]
    prompt_tokens: int = 7
    finish_reason: str = "stop"
    deltas: Sequence[Mapping[str, Any]] = ()
    """Raw deltas instead of `pieces`, for tool calls and reasoning."""

    def all_deltas(self) -> Sequence[Mapping[str, Any]]:
        """Give the deltas in order."""
        return self.deltas or [{"content": piece} for piece in self.pieces]


Answering = Callable[[Mapping[str, Any]], tuple[Answer, FaultScript]]


def say(*pieces: str, script: FaultScript | None = None) -> Answering:
    """Answer every request with the same pieces."""
    answer = Answer(pieces=pieces)
    return lambda _body: (answer, script or FaultScript())


class ChunkShape:
    """Writes the provider's own chunk JSON: ids, model name and preamble that the coordinator must rewrite."""

    def __init__(self, request_id: str, model: str, created: int) -> None:
        self._head = {
            "id": f"sim-{request_id}",
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
        }

    def event(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        """Give one server-sent event."""
        return b"data: " + msgspec.json.encode({**self._head, "choices": choices, **more}) + b"\n\n"

    def delta(self, delta: Mapping[str, Any], finish: str | None = None) -> bytes:
        """Give the event of one delta."""
        return self.event([{"index": 0, "delta": dict(delta), "finish_reason": finish}])

    def usage(self, prompt_tokens: int, completion_tokens: int) -> bytes:
        """Give the usage event."""
        total = prompt_tokens + completion_tokens
        return self.event(
            [],
            usage={"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens, "total_tokens": total},
        )
