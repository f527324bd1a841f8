"""Key-value caches of requests, kept to spare later ones the same beginning.

Invariant: owned by the engine thread. An entry is found only under the model and the scope that it was stored with: a
scope is one customer's, so that nobody learns from the time of an answer what another has asked.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, Protocol

from provider.engine.events import CacheOutcome

WORTHWHILE_TOKENS: Final = 64
"""A shorter common beginning is computed again."""

IDLE_SECONDS: Final = 600.0
"""An entry that nobody has used for this long is dropped."""

BUDGET_SHARE: Final = 0.15
"""Largest part of the memory for caches that entries may take."""

MAX_ENTRIES: Final = 256
"""Entries of all models and scopes; each lookup compares those of one scope."""

Key = tuple[str, str]


class PrefixBackend(Protocol):
    """What the store needs of a backend."""

    def copy_prefix(self, cache: list[object], drop: int) -> list[object] | None:
        """Return a cache of the same arrays without its newest `drop` tokens; None if that cannot be done."""


class Prefix:
    """A stored cache and the tokens that it covers."""

    __slots__ = ("bytes", "cache", "key", "tokens", "used_at")

    def __init__(self, key: Key, tokens: tuple[int, ...], cache: list[object], size: int, now: float) -> None:
        self.key = key
        self.tokens = tokens
        self.cache = cache
        self.bytes = size
        self.used_at = now


class Reuse:
    """What a lookup gave: a cache of the prompt's first `covered` tokens, or none, and why."""

    __slots__ = ("cache", "covered", "outcome")

    def __init__(self, outcome: CacheOutcome, cache: list[object] | None = None, covered: int = 0) -> None:
        self.outcome = outcome
        self.cache = cache
        self.covered = covered


class PrefixStore:
    """All stored prefixes, least recently used first. Instants are seconds on the engine's clock."""

    def __init__(self) -> None:
        self._entries: OrderedDict[int, Prefix] = OrderedDict()
        self._next = 0
        self.bytes = 0
        self.room = 0
        """Bytes that entries may take now; set by whoever measures the memory."""

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, model: str, scope: str, prompt: Sequence[int], backend: PrefixBackend, now: float) -> Reuse:
        """Look for the longest stored beginning of a prompt; its last token is always left to compute."""
        if not scope:
            return Reuse(CacheOutcome.NONE)
        wanted = tuple(prompt)
        best: list[tuple[int, int]] = []
        for number, entry in self._entries.items():
            if entry.key == (model, scope):
                best.append((min(common_beginning(entry.tokens, wanted), len(wanted) - 1), number))
        for covered, number in sorted(best, reverse=True):
            if covered < WORTHWHILE_TOKENS:
                return Reuse(CacheOutcome.COST if covered > 0 else CacheOutcome.ABSENT)
            entry = self._entries[number]
            cache = backend.copy_prefix(entry.cache, len(entry.tokens) - covered)
            if cache is not None:
                entry.used_at = now
                self._entries.move_to_end(number)
                return Reuse(CacheOutcome.HIT, cache, covered)
        return Reuse(CacheOutcome.ABSENT)

    def put(
        self,
        model: str,
        scope: str,
        tokens: Sequence[int],
        cache: list[object],
        size: int,
        *,
        now: float,
        whole: bool = False,
    ) -> bool:
        """Store a cache of `size` bytes if there is room, evicting older entries.

        Entries that it continues go, because it serves their prompts too; not so where one serves only as a `whole`.
        """
        key = (model, scope)
        covered = tuple(tokens)
        if not scope or len(covered) < WORTHWHILE_TOKENS or size > self.room:
            return False
        for number, entry in list(self._entries.items()):
            if entry.key != key:
                continue
            common = common_beginning(entry.tokens, covered)
            if common == len(covered) and (not whole or common == len(entry.tokens)):
                entry.used_at = now
                self._entries.move_to_end(number)
                return False
            if common == len(entry.tokens) and not whole:
                self._drop(number)
        self.shrink(self.room - size)
        while len(self._entries) >= MAX_ENTRIES:
            self._drop(next(iter(self._entries)))
        self._entries[self._next] = Prefix(key, covered, cache, size, now)
        self._next += 1
        self.bytes += size
        return True

    def shrink(self, limit: int) -> None:
        """Drop the least recently used entries until at most `limit` bytes are left."""
        while self.bytes > max(0, limit):
            self._drop(next(iter(self._entries)))

    def forget_idle(self, now: float) -> None:
        """Drop what nobody has used for ten minutes."""
        for number, entry in list(self._entries.items()):
            if now - entry.used_at >= IDLE_SECONDS:
                self._drop(number)

    def forget_model(self, model: str) -> None:
        """Drop everything of one model."""
        for number, entry in list(self._entries.items()):
            if entry.key[0] == model:
                self._drop(number)

    def _drop(self, number: int) -> None:
        self.bytes -= self._entries.pop(number).bytes


def common_beginning(left: tuple[int, ...], right: tuple[int, ...]) -> int:
    """Number of equal tokens at the beginning of both."""
    low, high = 0, min(len(left), len(right))
    if left[:high] == right[:high]:
        return high
    while high - low > 1:  # equal up to `low`, different up to `high`
        middle = (low + high) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle
    return low
