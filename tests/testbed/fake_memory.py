"""A machine whose memory figures a test sets by hand."""


class FakeSystem:
    """Physical and free bytes."""

    def __init__(self, total: int, free: int | None = None) -> None:
        self.total = total
        self.free = total if free is None else free

    def physical(self) -> int:
        """Total memory."""
        return self.total

    def available(self) -> int:
        """Free memory."""
        return self.free


class FakeAllocator:
    """Allocator counters; clearing empties the cache."""

    def __init__(self) -> None:
        self.held = 0
        self.freed = 0
        self.most = 0
        self.limits: tuple[int, int] | None = None

    def active(self) -> int:
        """Bytes held."""
        return self.held

    def cached(self) -> int:
        """Bytes kept for reuse."""
        return self.freed

    def peak(self) -> int:
        """Most bytes ever held."""
        return self.most

    def clear_cache(self) -> None:
        """Empty the cache."""
        self.freed = 0

    def set_limits(self, memory: int, cache: int) -> None:
        """Remember the limits."""
        self.limits = (memory, cache)
