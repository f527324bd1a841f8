"""Exponentially weighted average whose first sample initialises it."""

ALPHA = 0.3


class Average:
    """EWMA with weight 0.3 for the newest sample; `value` is None before the first."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float | None = None

    def add(self, sample: float) -> None:
        """Take one sample."""
        self.value = sample if self.value is None else self.value + ALPHA * (sample - self.value)
