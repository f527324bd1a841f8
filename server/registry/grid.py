"""Rates rounded to a geometric grid, so that machines of nearly the same speed fall into one speed class.

A time per token is rounded to the nearest power of 1.1 microseconds, which moves it by less than 5 %, and that to whole
microseconds. The routing index compares speed classes instead of machines. Requests are rounded likewise: what they
cost in each speed class is then worked out once for all requests of a size. The full cost uses the same rounded
figures, so both always agree.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

STEP: Final = 1.1
_LOG_STEP: Final = math.log(STEP)
_STEPS: Final = 170
_GRID: Final = tuple(round(STEP**power) for power in range(_STEPS))
"""1 µs to about 10 s per token."""
_SMALL: Final = 16
_log = math.log


def per_token_us(tokens_per_second: float) -> int:
    """Return microseconds per token on the grid for a positive rate."""
    return on_grid(1_000_000.0 / tokens_per_second)


@lru_cache(maxsize=16_384)
def tokens_on_grid(tokens: int) -> int:
    """Round a number of tokens to the grid, at most 5 % up or down; few stay as they are.

    Beyond the grid its end counts.
    """
    return tokens if tokens < _SMALL else _GRID[min(int(_log(tokens) / _LOG_STEP + 0.5), _STEPS - 1)]


def on_grid(microseconds: float) -> int:
    """Round a positive time to the grid; beyond its ends the end counts."""
    if microseconds <= 1.0:
        return 1
    power = int(_log(microseconds) / _LOG_STEP + 0.5)
    return _GRID[power] if power < _STEPS else _GRID[-1]
