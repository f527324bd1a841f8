"""How long requests of a like size waited for their first delta here, for forecasts."""

from collections import deque
from collections.abc import Callable
from typing import Final

MAX_SAMPLES: Final = 64
MAX_MODELS: Final = 16
LIKE: Final = 2
"""Prompts are alike when neither is more than twice as long as the other."""

FRESH_SECONDS: Final = 600.0
"""How long a sample counts: forecasts that keep requests away would otherwise stand for ever, as nothing corrects them.
"""

STEP: Final = 512
"""Prompts below this are alike, however short they are; probes round up to it."""


class FirstTokenTimes:
    """The newest samples of each model, those of models that were not used for the longest time dropped.

    `clock` gives seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._samples: dict[str, deque[tuple[float, int, float]]] = {}

    def note(self, model: str, prompt_tokens: int, seconds: float) -> None:
        """A request of a resident model gave its first delta."""
        samples = self._samples.pop(model, None) or deque(maxlen=MAX_SAMPLES)
        samples.append((self._clock(), prompt_tokens, seconds))
        self._samples[model] = samples
        if len(self._samples) > MAX_MODELS:
            del self._samples[next(iter(self._samples))]

    def like(self, model: str, prompt_tokens: int) -> tuple[float, ...]:
        """Give the seconds of requests like this one, the shortest first."""
        wanted, oldest = max(STEP, prompt_tokens), self._clock() - FRESH_SECONDS
        samples = self._samples.get(model, ())
        return tuple(
            sorted(
                seconds
                for at, tokens, seconds in samples
                if at > oldest and wanted <= LIKE * max(STEP, tokens) <= LIKE * LIKE * wanted
            )
        )
