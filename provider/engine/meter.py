"""What one slot has done and how fast: the counts, speeds and instants of its reports."""

from provider.engine.average import Average
from provider.engine.row import Row


class Meter:
    """Owned by the engine thread; instants are on the engine's clock, in seconds."""

    __slots__ = (
        "admits",
        "decode_tps",
        "first_tokens",
        "last_first_token_at",
        "last_step_at",
        "last_used_at",
        "prefill_tps",
        "step_prefill_tps",
        "steps",
    )

    def __init__(self, now: float) -> None:
        self.decode_tps = Average()
        self.prefill_tps = Average()
        self.step_prefill_tps = Average()
        self.steps = 0
        self.admits = 0
        self.first_tokens = 0
        self.last_step_at: float | None = None
        self.last_first_token_at: float | None = None
        self.last_used_at = now

    def note_first_token(self, row: Row, now: float) -> None:
        """A row gave its first token."""
        row.first_token_at = now
        self.first_tokens += 1
        self.last_first_token_at = now
        if row.admitted_at is not None and now > row.admitted_at:
            self.prefill_tps.add(row.prompt_length / (now - row.admitted_at))

    def note_end(self, row: Row, now: float) -> None:
        """A row ended; its speed counts if it had one, pauses left out."""
        self.last_used_at = now
        if row.generated > 1 and row.first_token_at is not None and row.last_token_at is not None:
            seconds = row.last_token_at - row.first_token_at - row.paused_seconds
            if seconds > 0:
                self.decode_tps.add((row.generated - 1) / seconds)
