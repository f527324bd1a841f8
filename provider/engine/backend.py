"""The numerical side of a slot behind a small interface, so that scheduling can be tested without arrays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from provider.engine.events import TokenLogprob
from provider.engine.request import GenerationRequest

SamplerFunction = Callable[[object], object]
ProcessorFunction = Callable[[object, object], object]


class Rollback(Protocol):
    """A per-row random state."""

    def step_back(self) -> None:
        """Undo the draw made for a token that was never delivered (the generator computes one step ahead)."""


class LogprobSource(Protocol):
    """Where a row's log-probabilities come from."""

    def take(self, token: int) -> TokenLogprob:
        """Describe the oldest sampled token that was not described yet."""


class Guard(Protocol):
    """A processor that must not raise, because an exception ends the whole batch; it ends its row instead."""

    failed: bool


@dataclass(frozen=True, slots=True)
class RowSampling:
    """How one row samples; `sampler` None means the generator's own batched greedy choice.

    `rollbacks` are undone together when a token computed ahead is thrown away. A row whose `guard` has failed ends with
    an error as soon as it stops.
    """

    sampler: SamplerFunction | None
    processors: tuple[ProcessorFunction, ...]
    rollbacks: tuple[Rollback, ...] = ()
    logprobs: LogprobSource | None = None
    guard: Guard | None = None


class TokenResponse(Protocol):
    """One sampled token of one row; `finish_reason` is None, ``stop`` or ``length``.

    With a reason come the row's cache and the tokens that it covers.
    """

    uid: int
    token: int
    logprobs: object
    finish_reason: str | None
    prompt_cache: list[object] | None
    all_tokens: list[int] | None


class PrefillResponse(Protocol):
    """Prefill progress of one row as (processed, total) tokens."""

    uid: int
    progress: tuple[int, int]
    end_of_prompt: bool


Segments = list[list[int]]
"""A prompt in parts: no step processes tokens of two of them."""


class Generator(Protocol):
    """The part of a continuous-batching generator that a lane uses (mlx-lm's ``BatchGenerator`` has it)."""

    prefill_step_size: int

    def insert_segments(
        self,
        segments: list[Segments],
        max_tokens: list[int] | None = None,
        caches: list[list[object] | None] | None = None,
        all_tokens: list[list[int]] | None = None,
        samplers: list[SamplerFunction | None] | None = None,
        logits_processors: list[Sequence[ProcessorFunction]] | None = None,
    ) -> list[int]:
        """Add rows and return their uids."""

    def extract_cache(self, uids: list[int]) -> dict[int, tuple[list[object], list[int]]]:
        """Return (cache, tokens it covers) of each row, which goes on."""

    def next(self) -> tuple[Sequence[PrefillResponse], Sequence[TokenResponse]]:
        """Run one decode step for all rows and at most one prefill chunk."""

    def remove(self, uids: list[int], return_prompt_caches: bool = ...) -> dict[int, tuple[list[object], list[int]]]:
        """Drop rows; with caches, return (cache, tokens it covers) of each."""

    @property
    def prompt_cache_nbytes(self) -> int:
        """Bytes that the caches of all rows take."""

    def close(self) -> None:
        """Release what the generator holds."""


class Backend(Protocol):
    """Makes generators for one model; used on the engine thread only."""

    def make_generator(self, rows: int) -> Generator:
        """Return a fresh generator for at most `rows` rows."""

    def make_sampling(self, request: GenerationRequest) -> RowSampling:
        """Return sampler and processors of a new row."""

    def is_broken(self, response: TokenResponse) -> bool:
        """Whether the row's logits were not numbers."""

    def keep_cache(self, cache: list[object]) -> list[object]:
        """Detach a removed row's cache from the batch that it was cut from."""

    def drop_last(self, cache: list[object]) -> bool:
        """Trim the newest token from a cache; False if this kind of cache cannot be trimmed."""

    def copy_prefix(self, cache: list[object], drop: int) -> list[object] | None:
        """Return a cache of the same arrays without its newest `drop` tokens; None if this kind cannot be trimmed."""

    def cache_bytes(self, cache: list[object]) -> int:
        """Bytes of the arrays of one row's cache."""

    def clear(self) -> None:
        """Return freed buffers to the system."""
