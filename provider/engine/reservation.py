"""Key-value reservations: the batch cache of a lane is a rectangle, rows by longest row in steps of 256 tokens."""

from collections.abc import Iterable

CACHE_STEP = 256
"""Tokens by which a batch cache grows."""

SHORT_LANE_TOKENS = 4096
MIDDLE_LANE_TOKENS = 32768


def round_to_step(tokens: int) -> int:
    """Round up to whole cache steps."""
    return -(-tokens // CACHE_STEP) * CACHE_STEP


def rectangle_tokens(rows: Iterable[int]) -> int:
    """Charged tokens of rows that share one cache, from their reserved lengths (prompt + maximum output)."""
    lengths = list(rows)
    return len(lengths) * round_to_step(max(lengths, default=0))


def growth_tokens(rows: list[int], new_row: int) -> int:
    """What admitting `new_row` adds to the rectangle: it may lengthen all the others."""
    return rectangle_tokens([*rows, new_row]) - rectangle_tokens(rows)


def lane_of(reserved: int) -> int:
    """Length class of a row: 0 up to 4 k tokens, 1 up to 32 k, 2 above; one long row must not widen short ones."""
    if reserved <= SHORT_LANE_TOKENS:
        return 0
    return 1 if reserved <= MIDDLE_LANE_TOKENS else 2
