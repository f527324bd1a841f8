"""What one slot has done and how fast: the counts, speeds and instants of its reports."""

from provider.engine.average import Average
from provider.engine.row import Row

MEASURABLE_TOKENS = 32
"""Prompt tokens below which the time to the first token says nothing about the speed of prompts."""

FRESH_SECONDS = 60.0
"""How long a measured speed of prompts may stand in a promise."""


class Meter:
    """Owned by the engine thread; instants are on the engine's clock, in seconds."""

    __slots__ = (
        "_chunk_tps",
        "_last_chunk_tps",
        "_prefilled_at",
        "admits",
        "decode_tps",
        "first_tokens",
        "last_first_token_at",
        "last_step_at",
        "last_used_at",
        "prefill_tps",
        "steps",
    )

    def __init__(self, now: float) -> None:
        self.decode_tps = Average()
        self.prefill_tps = Average()
        self._chunk_tps = Average()
        self._last_chunk_tps = 0.0
        self._prefilled_at = float("-inf")
        self.steps = 0
        self.admits = 0
        self.first_tokens = 0
        self.last_step_at: float | None = None
        self.last_first_token_at: float | None = None
        self.last_used_at = now

    @property
    def chunk_tps(self) -> float | None:
        """Prompt tokens per second to expect of the next chunk: a prompt slows down the longer it has become."""
        average = self._chunk_tps.value
        return None if average is None else min(average, self._last_chunk_tps)

    def prompt_speed(self, now: float) -> float | None:
        """Prompt tokens per second from admission to first token, for promises; None when that was too long ago.

        A speed that makes this machine refuse requests would otherwise never be measured again.
        """
        return self.prefill_tps.value if now - self._prefilled_at < FRESH_SECONDS else None

    def note_chunk(self, tokens_per_second: float) -> None:
        """Take the speed of one chunk."""
        self._chunk_tps.add(tokens_per_second)
        self._last_chunk_tps = tokens_per_second

    def note_first_token(self, row: Row, now: float) -> None:
        """A row gave its first token."""
        row.first_token_at = now
        self.first_tokens += 1
        self.last_first_token_at = now
        computed = row.prompt_length - row.cached
        if row.admitted_at is not None and now > row.admitted_at and computed >= MEASURABLE_TOKENS:
            self.prefill_tps.add(computed / (now - row.admitted_at))
            self._prefilled_at = now

    def note_end(self, row: Row, now: float) -> None:
        """A row ended; its speed counts if it had one, pauses left out."""
        self.last_used_at = now
        if row.generated > 1 and row.first_token_at is not None and row.last_token_at is not None:
            seconds = row.last_token_at - row.first_token_at - row.paused_seconds
            if seconds > 0:
                self.decode_tps.add((row.generated - 1) / seconds)
