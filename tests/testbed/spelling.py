"""A real provider whose every answer is one given text: model, batch generator and all else run as they are, and only
the drawn token is replaced. For tests that must know the completion.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

COMPLETION_FILE = "completion"
RECONNECT_SECONDS = 0.05


class Speller:
    """A row's sampler: draws as the row would have, then gives the next token of the text instead."""

    def __init__(self, tokens: list[int], own: Any) -> None:
        self._tokens = tokens
        self._own = own
        self._at = 0

    def __call__(self, logprobs: Any) -> Any:
        import mlx.core as mx

        if self._own is not None:
            self._own(logprobs)
        token = self._tokens[min(self._at, len(self._tokens) - 1)]
        self._at += 1
        return mx.array([token])


def prepare_provider(home: Path) -> None:
    """Patch this process before the provider starts in it; the text is that of the file `completion`."""
    from provider.engine.mlx_backend import MlxBackend
    from provider.link.backoff import Backoff

    # Only this launcher needs the path; the provider would restart without it, and without the traps.
    os.environ.pop("PYTHONPATH", None)
    text = (home / COMPLETION_FILE).read_text()
    backend: Any = MlxBackend
    begin, sample = backend.__init__, backend.make_sampling

    def remember(self: Any, model: Any) -> None:
        begin(self, model)
        self.spelled = [*model.tokenizer.encode(text, add_special_tokens=False), min(model.eos_ids)]

    def spell(self: Any, request: Any) -> Any:
        drawn = sample(self, request)
        return dataclasses.replace(drawn, sampler=Speller(self.spelled, drawn.sampler))

    backend.__init__, backend.make_sampling = remember, spell
    # A connection that a forced fault ended must not wait for half a minute.
    Backoff.next_delay = lambda *_: RECONNECT_SECONDS  # type: ignore[method-assign]
