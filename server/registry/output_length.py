"""How long answers turn out to be, by model and by account: what a request will really need, not what it may.

Invariant: at most `KEYS_MAX` records, the least recently fed one leaves first. Owner: the recorder of outcomes.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final

from server.registry.rates import ewma

ALPHA: Final = 0.1
WINDOW: Final = 200
KEYS_MAX: Final = 8_192
PRIOR_TOKENS: Final = 256
ACCOUNT_SAMPLES_MIN: Final = 8
"""With fewer answers of its own an account counts as everybody."""


class Lengths:
    """Completion tokens of the answers under one key: their number and EWMA, and the last of them for the rest."""

    __slots__ = ("_recent", "_sorted", "count", "mean")

    def __init__(self) -> None:
        self.count = 0
        self.mean: float | None = None
        self._recent: deque[int] = deque(maxlen=WINDOW)
        self._sorted: list[int] | None = None

    def add(self, tokens: int) -> None:
        """Take one answer."""
        self.count += 1
        self.mean = ewma(self.mean, float(tokens), ALPHA)
        self._recent.append(tokens)
        self._sorted = None

    def p90(self) -> int | None:
        """Nine of ten answers are no longer (nearest rank); None before the first."""
        if not self._recent:
            return None
        if self._sorted is None:
            self._sorted = sorted(self._recent)
        return self._sorted[-(-9 * len(self._sorted) // 10) - 1]


class OutputLengths:
    """Answers by model, and by account and model."""

    def __init__(self) -> None:
        self._by_key: OrderedDict[tuple[str | None, str], Lengths] = OrderedDict()

    def note(self, model: str, account_id: str | None, completion_tokens: int) -> None:
        """Take one complete answer; its tokens are those that were charged."""
        if completion_tokens <= 0:
            return
        self._of(None, model).add(completion_tokens)
        if account_id is not None:
            self._of(account_id, model).add(completion_tokens)

    def expected(self, model: str, account_id: str | None, max_tokens: int) -> float:
        """Tokens that an answer bounded by `max_tokens` will probably have."""
        found = self._by_key.get((account_id, model)) if account_id is not None else None
        if found is None or found.count < ACCOUNT_SAMPLES_MIN:
            found = self._by_key.get((None, model))
        mean = found.mean if found is not None else None
        return min(float(max_tokens), mean if mean is not None else float(PRIOR_TOKENS))

    def p90(self, model: str) -> int | None:
        """Tokens that nine of ten answers of a model do not exceed; None before the first answer."""
        found = self._by_key.get((None, model))
        return found.p90() if found is not None else None

    def _of(self, account_id: str | None, model: str) -> Lengths:
        key = (account_id, model)
        found = self._by_key.get(key)
        if found is None:
            if len(self._by_key) >= KEYS_MAX:
                self._by_key.popitem(last=False)
            found = self._by_key[key] = Lengths()
        else:
            self._by_key.move_to_end(key)
        return found
