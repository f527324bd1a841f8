"""One attempt inside a simulated machine, and what its coordinator hears of it."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from protocol.failure import AttemptFailure


class Stage(Enum):
    """Where the attempt is inside the engine."""

    LOADING = auto()
    WAITING = auto()
    PREFILL = auto()
    DECODE = auto()
    OVER = auto()


class AttemptEvents(Protocol):
    """What a machine tells of an attempt; calls for an attempt that is over change nothing."""

    def on_accepted(self) -> None:
        """The machine took the request and first loads the model."""

    def on_content(self) -> None:
        """The first token was generated."""

    def on_complete(self, tokens: int) -> None:
        """The answer is complete."""

    def on_error(self, failure: AttemptFailure) -> None:
        """The machine refused or failed."""


class Work:
    """Token numbers of one attempt and its progress; `finish_at` is in the engine's own measure of work done."""

    __slots__ = (
        "cached",
        "decode_since",
        "events",
        "finish_at",
        "lost",
        "model",
        "need",
        "out",
        "prefill_seconds",
        "prefix",
        "prefix_tokens",
        "produced",
        "prompt",
        "request_id",
        "stage",
    )

    def __init__(
        self,
        *,
        request_id: str,
        model: str,
        prompt: int,
        max_tokens: int,
        out: int,
        events: AttemptEvents,
        prefix: str | None = None,
        prefix_tokens: int = 0,
    ) -> None:
        self.request_id = request_id
        self.model = model
        self.prompt = prompt
        self.need = prompt + max_tokens
        self.out = out
        self.events = events
        self.prefix = prefix
        self.prefix_tokens = min(prefix_tokens, prompt)
        self.cached = 0
        """Tokens of the prompt that the machine did not compute again."""
        self.stage = Stage.WAITING
        self.prefill_seconds = 0.0
        self.finish_at = 0.0
        self.decode_since = 0.0
        self.lost = False
        """Another machine was faster in a race."""
        self.produced = 0
        """Tokens generated when the attempt left the engine."""
