"""The array allocator's counters, without importing it: before the first model there is nothing to count."""

import sys
from typing import Protocol, cast


class Allocator(Protocol):
    """Counters in bytes; callable from any thread."""

    def active(self) -> int:
        """Bytes held by arrays."""

    def cached(self) -> int:
        """Freed bytes that the allocator keeps for reuse."""

    def peak(self) -> int:
        """Largest `active` since the start."""

    def clear_cache(self) -> None:
        """Give the cached bytes back to the system."""

    def set_limits(self, memory: int, cache: int) -> None:
        """Set the soft limits on `active` and `cached`."""


class _MlxCore(Protocol):
    def get_active_memory(self) -> int: ...
    def get_cache_memory(self) -> int: ...
    def get_peak_memory(self) -> int: ...
    def clear_cache(self) -> None: ...
    def set_memory_limit(self, limit: int) -> int: ...
    def set_cache_limit(self, limit: int) -> int: ...


def _core() -> _MlxCore | None:
    """Give the library once it is there in full; another thread may be importing it just now."""
    core = sys.modules.get("mlx.core")
    if core is None or getattr(core.__spec__, "_initializing", False):
        return None
    return cast(_MlxCore, core)


class MlxAllocator:
    """The counters of MLX; all zero until a model was loaded."""

    def active(self) -> int:
        """Bytes held by arrays."""
        core = _core()
        return 0 if core is None else core.get_active_memory()

    def cached(self) -> int:
        """Freed bytes kept for reuse."""
        core = _core()
        return 0 if core is None else core.get_cache_memory()

    def peak(self) -> int:
        """Largest `active` since the start."""
        core = _core()
        return 0 if core is None else core.get_peak_memory()

    def clear_cache(self) -> None:
        """Give the cached bytes back to the system."""
        core = _core()
        if core is not None:
            core.clear_cache()

    def set_limits(self, memory: int, cache: int) -> None:
        """Set the soft limits; without effect before the library is loaded."""
        core = _core()
        if core is not None:
            core.set_memory_limit(memory)
            core.set_cache_limit(cache)
