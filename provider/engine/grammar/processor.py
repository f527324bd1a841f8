"""The logits processor of a constrained row."""

import logging
from typing import cast

import mlx.core as mx

from provider.engine.grammar.state import GrammarState
from provider.observe.place import last_place

logger = logging.getLogger(__name__)

Array = mx.array


class GrammarProcessor:
    """Masks what the grammar does not allow; it must be the last processor of its row.

    Invariant: the state has taken exactly the generated tokens that the context has shown, so a step that is thrown
    away and done again (pause and resume) advances nothing twice. It never raises: after a fault it permits the end
    alone, and `failed` tells the slot to end the row with an error.
    """

    def __init__(self, state: GrammarState, prompt_length: int) -> None:
        self.failed = False
        self._state = state
        self._taken = prompt_length

    def __call__(self, context: object, logits: object) -> object:
        """Map the row's tokens so far and its logits (1, vocabulary) to masked logits."""
        values = cast(Array, logits)
        try:
            mask = None if self.failed else self._next_mask(cast(Array, context))
        except Exception as error:  # an exception here would end every row of the batch
            logger.error("grammar fault", extra={"fault": type(error).__name__, "place": last_place(error)})
            self.failed = True
            mask = None
        if self.failed:
            mask = self._state.ended()
        if mask is None:
            return values
        return mx.where(mx.array(cast("list[bool]", mask)), values, mx.array(-mx.inf, dtype=values.dtype))

    def _next_mask(self, context: Array) -> object:
        fresh = context.size - self._taken
        if fresh > 0:
            for token in cast("list[int]", context[-fresh:].tolist()):
                self._state.advance(token)
            self._taken += fresh
        return self._state.allowed()
