"""What lookups of credentials found lately, kept for seconds, with no way for a slow lookup to bring back the dead.

Invariant: a result is kept only if nothing was changed since its lookup began: `generation` grows before and after
every change, and a result comes with the generation under which it was read.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Generic, TypeVar

KEEP_SECONDS: Final = 15.0
KEEP_MISS_SECONDS: Final = 2.0
MAX_ENTRIES: Final = 50_000
MAX_MISSES: Final = 10_000
EVERYTHING: Final = "*"

V = TypeVar("V")


class LookupCache(Generic[V]):
    """Values by hash for 15 s, misses for 2 s; both bounded, oldest out first. `clock` is monotonic seconds.

    `labels` names what a value may be dropped by, such as its id and its account.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        labels: Callable[[V], tuple[str, ...]],
        max_entries: int = MAX_ENTRIES,
        max_misses: int = MAX_MISSES,
    ) -> None:
        self._clock = clock
        self._labels = labels
        self._max_entries = max_entries
        self._max_misses = max_misses
        self._found: OrderedDict[str, tuple[float, V]] = OrderedDict()
        self._missed: OrderedDict[str, float] = OrderedDict()
        self._by_label: dict[str, set[str]] = {}
        self._generation = 0

    def __len__(self) -> int:
        return len(self._found) + len(self._missed)

    def __repr__(self) -> str:
        return f"<LookupCache {len(self._found)} found, {len(self._missed)} missed>"

    @property
    def generation(self) -> int:
        """Read before a lookup begins, and given to `keep` with its result."""
        return self._generation

    def find(self, key: str) -> V | None:
        """Give what was found lately; None when nothing is known."""
        entry = self._found.get(key)
        if entry is None:
            return None
        if self._clock() >= entry[0]:
            self._forget(key)
            return None
        return entry[1]

    def is_missing(self, key: str) -> bool:
        """Whether a lookup found nothing a moment ago."""
        until = self._missed.get(key)
        if until is None:
            return False
        if self._clock() >= until:
            del self._missed[key]
            return False
        return True

    def keep(self, key: str, value: V | None, generation: int) -> None:
        """Keep the result of a lookup, unless something was changed since it began."""
        if generation != self._generation:
            return
        self._forget(key)
        self._missed.pop(key, None)
        if value is None:
            self._missed[key] = self._clock() + KEEP_MISS_SECONDS
            if len(self._missed) > self._max_misses:
                self._missed.popitem(last=False)
            return
        self._found[key] = self._clock() + KEEP_SECONDS, value
        for label in self._labels(value):
            self._by_label.setdefault(label, set()).add(key)
        if len(self._found) > self._max_entries:
            self._forget(next(iter(self._found)))

    def drop(self, label: str) -> None:
        """Forget a key, or everything with a label; `*` is everything there is."""
        self._generation += 1
        if label == EVERYTHING:
            self._found.clear()
            self._missed.clear()
            self._by_label.clear()
            return
        self._forget(label)
        self._missed.pop(label, None)
        for key in list(self._by_label.get(label, ())):
            self._forget(key)

    @contextmanager
    def changing(self, *labels: str) -> Iterator[None]:
        """Hold around a change of the database, whatever comes of it: what is read meanwhile is not kept."""
        self._drop_all(labels)
        try:
            yield
        finally:
            self._drop_all(labels)

    def _drop_all(self, labels: tuple[str, ...]) -> None:
        self._generation += 1
        for label in labels:
            self.drop(label)

    def _forget(self, key: str) -> None:
        entry = self._found.pop(key, None)
        if entry is None:
            return
        for label in self._labels(entry[1]):
            keys = self._by_label.get(label)
            if keys is not None:
                keys.discard(key)
                if not keys:
                    del self._by_label[label]
