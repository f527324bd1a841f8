"""The credit window between a row on the engine thread and its reader on the trio side.

Invariant: `posted` is written by the engine thread only, `consumed` by the trio thread only; both only grow.
Invariant: `paused` is set by the engine thread before it reads `consumed` again, so no wake-up is lost.
"""


class Window:
    """Counts events posted and consumed; the engine stops posting when `size` are outstanding."""

    __slots__ = ("consumed", "paused", "posted", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.posted = 0
        self.consumed = 0
        self.paused = False

    @property
    def is_full(self) -> bool:
        """Whether no further event may be posted."""
        return self.posted - self.consumed >= self.size

    @property
    def may_resume(self) -> bool:
        """Whether at least half of the window is free again."""
        return self.posted - self.consumed <= self.size // 2
