"""One generator and its rows: rows of similar reserved length that share a rectangular cache.

Invariant: owned by the engine thread; `rows` holds exactly the rows that the generator holds, `paused` those taken out.
"""

import logging
import statistics
from collections import deque
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

from provider.engine.backend import Backend, Generator, TokenResponse
from provider.engine.meter import MEASURABLE_TOKENS
from provider.engine.prefill import Pace, chunk_tokens
from provider.engine.prefixes import WORTHWHILE_TOKENS, Reuse
from provider.engine.reservation import growth_tokens, rectangle_tokens
from provider.engine.row import Row, SavedState

logger = logging.getLogger(__name__)

REMEMBERED_STEPS: Final = 5
"""Steps whose median says how long one takes that only decodes; a single slow one says nothing."""


class StepResult:
    """What one `next()` gave: tokens, the prompt tokens it processed per second if any, and whose cache to keep now."""

    __slots__ = ("prefill_speed", "to_keep", "tokens")

    def __init__(
        self, tokens: Sequence[TokenResponse], prefill_speed: float | None = None, to_keep: Sequence[Row] = ()
    ) -> None:
        self.tokens = tokens
        self.prefill_speed = prefill_speed
        self.to_keep = to_keep


class Lane:
    """A batch generator with the accounting of its rows; `clock` gives seconds."""

    def __init__(self, backend: Backend, rows: int, clock: Callable[[], float]) -> None:
        self._backend = backend
        self._clock = clock
        self._generator: Generator = backend.make_generator(rows)
        self.rows: dict[int, Row] = {}
        self.paused: dict[int, Row] = {}
        self.prefilling = 0
        self.decode_seconds = 0.0
        """Duration of the last step that only decoded."""
        self._steps: deque[float] = deque(maxlen=REMEMBERED_STEPS)
        self._charged: int | None = 0

    @property
    def reserved_lengths(self) -> list[int]:
        """Reserved tokens of every row, paused ones included: a paused row keeps its place."""
        return [row.reserved for row in self.rows.values()] + [row.reserved for row in self.paused.values()]

    @property
    def charged_tokens(self) -> int:
        """Tokens of the lane's rectangle."""
        if self._charged is None:
            self._charged = rectangle_tokens(self.reserved_lengths)
        return self._charged

    def growth(self, reserved: int) -> int:
        """What one more row of this reserved length would add."""
        return growth_tokens(self.reserved_lengths, reserved)

    @property
    def cache_bytes(self) -> int:
        """Bytes that the batch cache takes now; 0 for kinds that do not tell, which makes admission careful."""
        try:
            return self._generator.prompt_cache_nbytes
        except (AttributeError, NotImplementedError):
            return 0

    def start(self, row: Row, reuse: Reuse) -> None:
        """Begin the row's prefill, after what a stored prefix has computed already."""
        row.begin(self._backend.make_sampling(row.request))
        prompt = list(row.request.prompt_tokens)
        row.cache_outcome = reuse.outcome
        row.cached = reuse.covered
        least = max(reuse.covered + 1, WORTHWHILE_TOKENS)
        row.keep_at = tuple(end - reuse.covered for end in row.request.boundaries if least <= end < len(prompt))
        self._insert(row, prompt[reuse.covered :], reuse.cache, prompt[: reuse.covered])

    def pause(self, row: Row) -> None:
        """Take a decoding row out of the batch, keeping its cache and random state."""
        assert row.uid is not None
        cache, tokens = self._generator.remove([row.uid], return_prompt_caches=True)[row.uid]
        del self.rows[row.uid]
        row.uid = None
        row.keep_at = ()
        row.saved = SavedState(self._backend.keep_cache(cache), list(tokens))
        if row.sampling is not None:
            for rollback in row.sampling.rollbacks:
                rollback.step_back()
        self.paused[row.number] = row

    def resume(self, row: Row) -> None:
        """Put a paused row back; the newest token is fed again, so the next one is the one that would have come."""
        saved = row.saved
        assert saved is not None
        del self.paused[row.number]
        row.saved = None
        if saved.cache and self._backend.drop_last(saved.cache):
            self._insert(row, saved.tokens[-1:], saved.cache, saved.tokens[:-1])
        else:
            self._insert(row, saved.tokens, None, [])

    def remove(self, row: Row) -> None:
        """Forget a row at any stage."""
        self._charged = None
        self.paused.pop(row.number, None)
        row.saved = None
        if row.uid is not None and self.rows.pop(row.uid, None) is not None:
            self._generator.remove([row.uid])
            self._recount()

    def take_out(self, row: Row) -> tuple[list[object], list[int]]:
        """Remove a decoding row; gives its cache and the tokens that the cache covers."""
        assert row.uid is not None
        cache, tokens = self._generator.remove([row.uid], return_prompt_caches=True)[row.uid]
        self.ended(row)
        self._recount()
        return cache, list(tokens)

    def look_at(self, row: Row) -> tuple[list[object], list[int]]:
        """Give the cache of a row that goes on, and the tokens that it covers."""
        assert row.uid is not None
        cache, tokens = self._generator.extract_cache([row.uid])[row.uid]
        return cache, list(tokens)

    def ended(self, row: Row) -> None:
        """Forget a row that the generator does not hold any more, or that is lost with it."""
        self.paused.pop(row.number, None)
        self._charged = None
        if row.uid is not None:
            self.rows.pop(row.uid, None)

    def step(self, prefill_speed: float | None, pace: Pace, *, prefill_step: int = 0) -> StepResult:
        """Run one `next()`; raises whatever the generator raises, after which the lane must be closed.

        `prefill_step` other than 0 says how many tokens of each prompt are computed, whatever the speed.
        """
        generator = self._generator
        began = self._clock()
        if not self.prefilling:
            tokens = generator.next()[1]
            self.decode_seconds = self._clock() - began
            self._steps.append(self.decode_seconds)
            return StepResult(tokens)
        rows, decoded = self.prefilling, len(self.rows) > self.prefilling
        usual = statistics.median(self._steps) if self._steps else 0.0
        chunk = prefill_step or chunk_tokens(prefill_speed, pace, rows=rows, step_seconds=usual)
        generator.prefill_step_size = chunk
        progress, tokens = generator.next()
        elapsed = self._clock() - began
        if decoded:
            elapsed -= min(usual, elapsed / 2)  # a misjudged step at most doubles the speed of the chunk
        processed, to_keep = 0, []
        for response in progress:
            row = self.rows[response.uid]
            processed += response.progress[0] - row.prefilled
            row.prefilled = response.progress[0]
            if row.prefilled in row.keep_at:
                to_keep.append(row)
            if response.end_of_prompt:
                row.prefilling = False
        self._recount()
        measured = processed >= min(MEASURABLE_TOKENS, chunk * rows) and elapsed > 0
        return StepResult(tokens, processed / elapsed if measured else None, to_keep)

    def close(self) -> list[Row]:
        """Drop the generator and return the rows that were in it, running and paused."""
        rows = [*self.rows.values(), *self.paused.values()]
        self.rows.clear()
        self.paused.clear()
        self._charged = None
        try:
            self._generator.close()
        except Exception as error:  # a generator broken by the device may fail to close; it is dropped all the same
            logger.error("generator close fault", extra={"fault": type(error).__name__})
        return rows

    def _insert(self, row: Row, prompt: list[int], cache: list[object] | None, covered: list[int]) -> None:
        sampling = row.sampling
        assert sampling is not None
        row.prefilled = 0
        (row.uid,) = self._generator.insert_segments(
            [[prompt[begin:end] for begin, end in pairwise((0, *row.keep_at, len(prompt)))]],
            [row.max_tokens - row.generated],
            caches=[cache],
            all_tokens=[covered],
            samplers=[sampling.sampler],
            logits_processors=[sampling.processors],
        )
        self.rows[row.uid] = row
        self._charged = None
        row.prefilling = True
        self.prefilling += 1

    def _recount(self) -> None:
        self.prefilling = sum(1 for row in self.rows.values() if row.prefilling)
