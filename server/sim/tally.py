"""What is counted while a simulation runs; the report is made of it afterwards."""

from __future__ import annotations

import time
from array import array
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.sim.clients import Client


class Goal(Struct, frozen=True, kw_only=True):
    """When an answer is good: content in time, counted from the client's first try, and fast enough from then on."""

    ttft_base_ms: float = 10_000.0
    ttft_per_token_ms: float = 1.0
    decode_tps: float = 12.0

    def ttft_ms(self, prompt_tokens: int) -> float:
        """The latest first content of a prompt of this size."""
        return self.ttft_base_ms + self.ttft_per_token_ms * prompt_tokens


class JobResult(Struct, frozen=True, gc=False):
    """How one job ended; times in seconds of the run, `why` is empty for a complete answer."""

    number: int
    model: str
    account: str | None
    prompt: int
    wanted: int
    started_at: float
    why: str
    tries: int
    content_at: float | None
    ended_at: float
    tokens: int
    asked_at: float

    @property
    def served(self) -> bool:
        """Whether the answer is complete."""
        return not self.why

    @property
    def ttft_ms(self) -> float | None:
        """From the first try to the first content."""
        return None if self.content_at is None else 1000 * (self.content_at - self.started_at)

    @property
    def last_ttft_ms(self) -> float | None:
        """From the try that was answered to the first content."""
        return None if self.content_at is None else 1000 * (self.content_at - self.asked_at)

    @property
    def decode_tps(self) -> float | None:
        """Tokens per second after the first one, None for answers too short to tell."""
        if self.content_at is None or self.tokens < 8 or self.ended_at <= self.content_at:
            return None
        return (self.tokens - 1) / (self.ended_at - self.content_at)

    def is_good(self, goal: Goal) -> bool:
        """Whether the answer is complete, began in time and was fast enough."""
        ttft, speed = self.ttft_ms, self.decode_tps
        return (
            self.served
            and ttft is not None
            and ttft <= goal.ttft_ms(self.prompt)
            and (speed is None or speed >= goal.decode_tps)
        )


class Tally:
    """Counters and results of one run. `decision_ns` is real time: it is never part of what two runs must agree on."""

    def __init__(self) -> None:
        self.jobs: list[JobResult] = []
        self.refusals: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.failures: Counter[str] = Counter()
        self.waits: list[float] = []
        self.waits_in_vain: list[float] = []
        self.prediction_ratios: list[float] = []
        self.attempts = 0
        self.hedges = 0
        self.hedges_won = 0
        self.hedge_verdicts: Counter[str] = Counter()
        self.cache_hits = 0
        self.cache_misses = 0
        """Answers of machines that were chosen for what they hold."""
        self.decision_ns: array[int] = array("q")

    @contextmanager
    def timed_decision(self) -> Iterator[None]:
        """Measure one routing decision in processor time of this thread."""
        started = time.thread_time_ns()
        yield
        self.decision_ns.append(time.thread_time_ns() - started)

    def waited(self, seconds: float, *, served: bool) -> None:
        """A request left the queue."""
        (self.waits if served else self.waits_in_vain).append(seconds)

    def refused(self, status: int, reason: str) -> None:
        """A request was answered with an error."""
        self.refusals[reason] += 1
        self.statuses[status] += 1

    def failed(self, kind: str) -> None:
        """An attempt failed before content."""
        self.failures[kind] += 1

    def cache_answered(self, *, hit: bool) -> None:
        """A machine that was chosen for the beginning of a prompt still held it, or not."""
        self.cache_hits += hit
        self.cache_misses += not hit

    def predicted(self, predicted_ms: float, actual_ms: float) -> None:
        """A first attempt brought content after a prediction."""
        if actual_ms > 0:
            self.prediction_ratios.append(predicted_ms / actual_ms)

    def answered(self, client: Client, tokens: int, now: float) -> None:
        """A job got its whole answer."""
        self._end(client, "", tokens, now)

    def gave_up(self, client: Client, why: str, now: float) -> None:
        """A job ended without one."""
        self._end(client, why, 0, now)

    def _end(self, client: Client, why: str, tokens: int, now: float) -> None:
        arrival = client.arrival
        self.jobs.append(
            JobResult(
                number=client.number,
                model=arrival.model,
                account=arrival.account,
                prompt=arrival.prompt,
                wanted=arrival.answer_tokens,
                started_at=client.started_at,
                why=why,
                tries=client.tries,
                content_at=client.content_at,
                ended_at=now,
                tokens=tokens,
                asked_at=client.asked_at,
            )
        )
