"""When a provider must have sent content, and how long each later silence may be. Pure; seconds of trio's clock."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayTimes:
    """All limits of one relayed request, in seconds."""

    first_content_base: float = 5.0
    first_content_per_token: float = 0.001
    preamble_extension: float = 90.0
    accepted: float = 600.0
    chunk_gap: float = 600.0
    completion: float = 2.0
    """From the last chunk to the completion message, once the provider said that its text is over."""
    overflow_grace: float = 0.25
    park: float = 30.0
    settle: float = 30.0
    answer_waits_for_settlement: float = 10.0
    head: float = 30.0
    """From commit until the consumer side must have begun to write."""
    keep_alive: float = 15.0
    least_retry: float = 0.25
    """With less than this left, another attempt is pointless."""


class FirstContentClock:
    """One deadline for the first content of a request, absolute over all its attempts.

    It starts at the first dispatch: base + 1 ms per estimated prompt token. A preamble extends it once, by 90 s. A
    provider that was not warm when it was chosen and said `inference_accepted` gets 600 s from then on; what it was
    given does not pass on: the next attempt has the base time at most.
    """

    def __init__(self, times: RelayTimes, *, prompt_tokens: int, now: float) -> None:
        self._times = times
        self._allowance = times.first_content_base + times.first_content_per_token * prompt_tokens
        self._base = now + self._allowance
        self._extended = False
        self._accepted_until: float | None = None

    @property
    def deadline(self) -> float:
        """The moment at which the attempt in progress has failed."""
        return self._base if self._accepted_until is None else max(self._base, self._accepted_until)

    def remaining_ms(self, now: float) -> int:
        """What a provider is told: milliseconds until the deadline, at least 1."""
        return max(1, int((self.deadline - now) * 1000))

    def preamble(self) -> None:
        """Note that something without content arrived; only the first time counts."""
        if not self._extended:
            self._extended = True
            self._base += self._times.preamble_extension

    def accepted(self, now: float) -> None:
        """Note that a cold provider took the request and loads the model."""
        if self._accepted_until is None:
            self._accepted_until = now + self._times.accepted

    def next_attempt(self, now: float) -> bool:
        """Prepare for another provider; False when no time is left for one.

        After an accepted attempt failed late, the base time runs anew: its load was allowed to use up the clock.
        """
        if self._accepted_until is not None:
            self._accepted_until = None
            self._base = max(self._base, now + self._allowance)
        return self._base - now >= self._times.least_retry
