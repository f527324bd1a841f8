"""What one slot has done and how fast: the counts, speeds and instants of its reports."""

from provider.engine.average import Average
from provider.engine.row import Row


class Meter:
    """Owned by the engine thread; instants are on the engine's clock, in seconds."""

    __slots__ = (
        "_chunk_tps",
        "_last_chunk_tps",
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

    def note_chunk(self, tokens_per_second: float) -> None:
        """Take the speed of one chunk."""
        self._chunk_tps.add(tokens_per_second)
        self._last_chunk_tps = tokens_per_second

    def note_first_token(self, row: Row, now: float) -> None:
        """A row gave its first token."""
        row.first_token_at = now
        self.first_tokens += 1
        self.last_first_token_at = now
        if row.admitted_at is not None and now > row.admitted_at:
            self.prefill_tps.add((row.prompt_length - row.cached) / (now - row.admitted_at))

    def note_end(self, row: Row, now: float) -> None:
        """A row ended; its speed counts if it had one, pauses left out."""
        self.last_used_at = now
        if row.generated > 1 and row.first_token_at is not None and row.last_token_at is not None:
            seconds = row.last_token_at - row.first_token_at - row.paused_seconds
            if seconds > 0:
                self.decode_tps.add((row.generated - 1) / seconds)
