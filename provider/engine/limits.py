"""Every bound of the engine in one frozen record."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

MAX_CONCURRENT_LIMIT = 24
"""Rows per model that may ever run together; the coordinator clamps reports at this number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLimits:
    """Bounds and timeouts; seconds unless the name says otherwise.

    When `max_waiting` requests wait for one model, further ones end with ``queue_full``. When `window_events` events of
    a request are unread, its row is paused; it resumes at half of that and fails after `backpressure_timeout`.
    `max_concurrent_by_model` wins over `max_concurrent`; `prefill_step` 0 measures how many prompt tokens a step takes.
    """

    max_concurrent: int = 8
    max_concurrent_by_model: Mapping[str, int] = field(default_factory=dict)
    prefill_step: int = 0
    max_waiting: int = 64
    window_events: int = 256
    aged_after: float = 5.0
    admission_timeout: float = 120.0
    first_token_timeout: float = 120.0
    decode_timeout: float = 120.0
    backpressure_timeout: float = 120.0
    safety_tokens_per_second: float = 5.0
    safety_grace: float = 120.0
    sweep_interval: float = 1.0
    wedge_suspected_after: float = 30.0
    wedge_crashed_after: float = 60.0
    wedge_fatal_after: float = 120.0
    fault_window: float = 600.0
    faults_to_crash: int = 3

    def __post_init__(self) -> None:
        for rows in (self.max_concurrent, *self.max_concurrent_by_model.values()):
            if not 1 <= rows <= MAX_CONCURRENT_LIMIT:
                raise ValueError(f"max_concurrent is {rows}; choose a number from 1 to {MAX_CONCURRENT_LIMIT}.")
        if self.window_events < 2:
            raise ValueError(f"window_events is {self.window_events}; it must be at least 2.")

    def of_model(self, model_id: str) -> Self:
        """Give the bounds of one model."""
        rows = self.max_concurrent_by_model.get(model_id, self.max_concurrent)
        return self if rows == self.max_concurrent else replace(self, max_concurrent=rows)
