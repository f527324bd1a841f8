"""What a benchmark runs: sizes, repetitions and prompts."""

from dataclasses import dataclass
from typing import Final

MAX_SIZE: Final = 1 << 20
DEFAULT_PREFILL_LENGTHS: Final = (128, 512, 2048)
DEFAULT_BATCH_SIZES: Final = (1, 2, 4, 8, 16)
ARRIVAL_ROWS: Final = 4
ARRIVAL_DISTANCE_SECONDS: Final = 0.05
DECODE_PROMPT_TOKENS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkPlan:
    """Every cell is measured `iterations` times, after one run that does not count."""

    iterations: int = 3
    prefill_lengths: tuple[int, ...] = DEFAULT_PREFILL_LENGTHS
    batch_sizes: tuple[int, ...] = DEFAULT_BATCH_SIZES
    decode_tokens: int = 64


def parse_sizes(text: str, *, maximum: int = MAX_SIZE) -> tuple[int, ...]:
    """Read ``1,2,4``; raises ValueError with a full sentence."""
    sizes: list[int] = []
    for part in text.split(","):
        word = part.strip()
        if not (word.isascii() and word.isdigit()) or not 1 <= int(word) <= maximum:
            raise ValueError(f"{word!r} is not a number from 1 to {maximum}; write sizes as 1,2,4.")
        sizes.append(int(word))
    return tuple(dict.fromkeys(sizes))


def prompt_of(length: int, row: int, vocabulary: int) -> tuple[int, ...]:
    """A prompt of `length` tokens that differs from row to row and from length to length."""
    usable = max(1, vocabulary - 2)
    return tuple(1 + (row * 7919 + length * 31 + place * 97 + place * place) % usable for place in range(length))
