"""How many prompt tokens one turn may process, so that decoding rows never stand still for long.

A chunk is measured out in time, not in tokens: as many tokens as the measured speed of prompts takes through in the
seconds that a turn may spend on prompts. What decodes anywhere in the engine waits for every prompt of the turn, so
all generators that process one share those seconds.
"""

from dataclasses import dataclass
from typing import Final

FIRST_CHUNK: Final = 64
"""Tokens of the first chunk ever, when nothing waits for it: few enough that no machine seems stuck over them."""

MIN_CHUNK: Final = 16
"""Tokens that every turn processes however slow the machine is; also the first chunk ever beside decoding rows."""

MAX_CHUNK: Final = 2048

SECONDS_WHILE_DECODING: Final = 0.1
"""What a turn spends on prompts beside decoding rows: to a quarter of a second, the rest is for misjudged speeds."""

STEPS_WHILE_DECODING: Final = 2.0
"""The same in decode steps, where those are long: a chunk reads all weights as a step does, so that much smaller ones
would hardly come forward."""

SECONDS_ALONE: Final = 1.0
"""What a turn spends on prompts that nothing waits for; bounds how long a cancel or a new request waits."""

LONG_PROMPT_TOKENS: Final = 256
"""A prompt is long from two chunks on, but never below this."""


@dataclass(frozen=True, slots=True)
class Pace:
    """One turn: whether any row of the engine decodes in it, and how many generators process prompts."""

    decoding: bool
    generators: int = 1


NO_PROMPTS: Final = Pace(decoding=True)
"""A turn in which none is processed."""


def chunk_tokens(tokens_per_second: float | None, pace: Pace, *, rows: int = 1, step_seconds: float = 0.0) -> int:
    """Prompt tokens for each of the `rows` that one generator processes together in a turn.

    `tokens_per_second` is the measured speed of prompts over all rows, None before the first measurement;
    `step_seconds` is how long a step of this generator takes that only decodes.
    """
    if tokens_per_second is None:
        tokens = MIN_CHUNK if pace.decoding else FIRST_CHUNK
    else:
        beside = max(SECONDS_WHILE_DECODING, STEPS_WHILE_DECODING * step_seconds)
        seconds = beside if pace.decoding else SECONDS_ALONE
        tokens = int(min(max(tokens_per_second * seconds, MIN_CHUNK), MAX_CHUNK))
    return max(1, tokens // (rows * pace.generators))


def is_long(prompt_tokens: int, tokens_per_second: float | None, *, decoding: bool) -> bool:
    """Whether a prompt takes so many turns that no second one of its kind may run beside it."""
    return prompt_tokens > max(LONG_PROMPT_TOKENS, 2 * chunk_tokens(tokens_per_second, Pace(decoding)))
