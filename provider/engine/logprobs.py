"""Log-probabilities as they were before penalties, biases and constraints; taken on the engine thread."""

from collections import deque
from collections.abc import Callable
from typing import cast

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from provider.engine.events import TokenLogprob

Array = mx.array


class LogprobTap:
    """A logits processor that changes nothing and remembers each step until its token is delivered.

    It must be the first of its row. The generator computes one step ahead, so at most two steps are remembered; only
    the row's distribution and the indices of its `top` likeliest tokens leave the device, never a copy of it.
    """

    def __init__(self, top: int) -> None:
        self._top = top
        self._steps: deque[tuple[Array, Array | None]] = deque()

    def __call__(self, context: object, logits: object) -> object:
        """Take the logits (1, vocabulary) of one step."""
        row = cast(Array, logits)[0].astype(mx.float32)
        values = row - mx.logsumexp(row)
        top = min(self._top, values.shape[0])
        likeliest = mx.argpartition(-values, kth=top - 1)[:top] if top else None
        _begin(values, likeliest)
        self._steps.append((values, likeliest))
        return logits

    def take(self, token: int) -> TokenLogprob:
        """Describe the oldest step, whose token was `token`."""
        values, likeliest = self._steps.popleft()
        table: NDArray[np.float32] = np.frombuffer(cast("memoryview[int]", values), np.float32)
        top: list[tuple[int, float]] = []
        if likeliest is not None:
            top = [(index, float(table[index])) for index in cast("list[int]", likeliest.tolist())]
            top.sort(key=lambda pair: (-pair[1], pair[0]))
        return TokenLogprob(token, float(table[token]), tuple(top))

    def step_back(self) -> None:
        """Forget the newest step: its token is thrown away."""
        self._steps.pop()


def _begin(*arrays: Array | None) -> None:
    """Start computing, without waiting."""
    start = cast("Callable[..., None]", mx.async_eval)
    start(*(array for array in arrays if array is not None))
