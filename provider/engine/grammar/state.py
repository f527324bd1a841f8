"""Which tokens a constrained row may take next; numbers alone, no arrays of the device.

Invariant: `advance` is called once for each generated token, in order; `allowed` may be called any number of times.
"""

from collections.abc import Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Matcher(Protocol):
    """The part of a compiled grammar's matcher that a row uses (llguidance's ``LLMatcher`` has it)."""

    def consume_token(self, token: int) -> bool:
        """Advance; False if the grammar does not permit the token."""

    def compute_bitmask(self) -> bytes:
        """Return one bit for each token of the tokenizer, lowest bit first."""

    def is_accepting(self) -> bool:
        """Whether the text may end here."""

    def is_stopped(self) -> bool:
        """Whether nothing but the end may follow."""


class GrammarBroken(Exception):
    """The matcher contradicts itself; the row must end."""


class _Phase(Enum):
    FREE = auto()
    """Anything goes until the closing tokens."""
    FIRST = auto()
    """The first token may open the reasoning instead of the constrained text."""
    BOUND = auto()
    ENDED = auto()


class GrammarState:
    """State of one row; see `Begin` for `opens`, `closes` and where it starts."""

    def __init__(
        self,
        matcher: Matcher,
        *,
        size: int,
        end_tokens: frozenset[int],
        opens: Sequence[int] = (),
        closes: Sequence[int] = (),
        is_free: bool = False,
    ) -> None:
        self._matcher = matcher
        self._size = size
        self._end_tokens = end_tokens
        self._open_token = opens[0] if opens and not is_free else None
        self._closes = tuple(closes)
        self._recent: list[int] = []
        self._phase = _Phase.FREE if is_free else _Phase.FIRST if self._open_token is not None else _Phase.BOUND

    def advance(self, token: int) -> None:
        """Take one generated token. Raises `GrammarBroken` if the matcher refuses what it allowed."""
        if self._phase is _Phase.FIRST:
            self._phase = _Phase.FREE if token == self._open_token else _Phase.BOUND
        if self._phase is _Phase.FREE:
            self._recent.append(token)
            del self._recent[: -len(self._closes)]
            if tuple(self._recent) == self._closes:
                self._phase = _Phase.BOUND
        elif self._phase is _Phase.BOUND:
            if token in self._end_tokens:
                self._phase = _Phase.ENDED
            elif not self._matcher.consume_token(token):
                raise GrammarBroken("The grammar refused a token that it had allowed.")

    def allowed(self) -> "NDArray[np.bool_] | None":
        """Return one truth value for each token, or None while everything is allowed."""
        import numpy as np

        if self._phase is _Phase.FREE:
            return None
        mask = np.zeros(self._size, dtype=np.bool_)
        if self._phase is _Phase.ENDED or self._matcher.is_stopped():
            self._permit(mask, self._end_tokens)
            return mask
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        unpacked = np.unpackbits(bits, bitorder="little")[: self._size]
        mask[: len(unpacked)] = unpacked.astype(np.bool_)
        for token in self._end_tokens:
            if token < self._size:
                mask[token] = False
        if self._matcher.is_accepting():
            self._permit(mask, self._end_tokens)
        if self._phase is _Phase.FIRST and self._open_token is not None:
            mask[self._open_token] = True
        if not mask.any():
            raise GrammarBroken("The grammar allows no token.")
        return mask

    def ended(self) -> "NDArray[np.bool_]":
        """Return the mask that permits nothing but the end."""
        import numpy as np

        mask = np.zeros(self._size, dtype=np.bool_)
        self._permit(mask, self._end_tokens)
        return mask

    def _permit(self, mask: "NDArray[np.bool_]", tokens: frozenset[int]) -> None:
        for token in tokens:
            if token < self._size:
                mask[token] = True
