"""When a provider must have sent content, and how long each later silence may be. Pure; seconds of trio's clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


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

    def allowance(self, prompt_tokens: int) -> float:
        """The configured time for the first content of a prompt."""
        return self.first_content_base + self.first_content_per_token * prompt_tokens


class ContentClock(Protocol):
    """What one attempt has of the clock for the first content."""

    @property
    def deadline(self) -> float:
        """The moment at which the attempt has failed."""

    def remaining_ms(self, now: float) -> int:
        """What a provider is told: milliseconds until the deadline, at least 1."""

    def preamble(self) -> None:
        """Note that something without content arrived."""

    def accepted(self, now: float) -> None:
        """Note that a cold provider took the request and loads the model."""


class FirstContentClock:
    """One deadline for the first content of a request, absolute over all its attempts; also its first attempt's clock.

    It starts at the first dispatch: base + 1 ms per estimated prompt token, or an `allowance` of the caller's. An
    attempt that showed a preamble may go on for 90 s more, counted once for the request. One whose provider was not
    warm when it was chosen and said `inference_accepted` gets 600 s from then on. What an attempt was given does not
    pass on: the next one has the base time at most.
    """

    def __init__(self, times: RelayTimes, *, prompt_tokens: int, now: float, allowance: float | None = None) -> None:
        self._times = times
        self._allowance = times.allowance(prompt_tokens) if allowance is None else allowance
        self._base = now + self._allowance
        self._long: float | None = None
        self._said_something = False
        self._own = _Extras()

    @property
    def deadline(self) -> float:
        """The moment at which the attempt in progress has failed."""
        return self.deadline_with(self._own)

    def deadline_with(self, extras: _Extras) -> float:
        """The deadline of an attempt with these extras."""
        deadline = self._base
        if extras.preamble and self._long is not None:
            deadline = max(deadline, self._long)
        return deadline if extras.accepted_until is None else max(deadline, extras.accepted_until)

    def remaining_ms(self, now: float) -> int:
        """What a provider is told: milliseconds until the deadline, at least 1."""
        return max(1, int((self.deadline - now) * 1000))

    def preamble(self) -> None:
        """Note that something without content arrived; only the first time counts."""
        self.note_preamble(self._own)

    def note_preamble(self, extras: _Extras) -> None:
        """Note the preamble of an attempt: all share the one extension."""
        extras.preamble = self._said_something = True
        if self._long is None:
            self._long = self._base + self._times.preamble_extension

    def accepted(self, now: float) -> None:
        """Note that a cold provider took the request and loads the model."""
        self.note_accepted(self._own, now)

    def note_accepted(self, extras: _Extras, now: float) -> None:
        """Note that an attempt waits for a load."""
        if extras.accepted_until is None:
            self._said_something = True
            extras.accepted_until = now + self._times.accepted

    def backup(self) -> BackupClock:
        """The clock of a second attempt beside the first: the same deadline, extras of its own."""
        return BackupClock(self)

    def next_attempt(self, now: float) -> bool:
        """Prepare for another provider; False when no time is left for one.

        After an attempt failed late that had said something, the base time runs anew: its load, or its long prompt, was
        allowed to use up the clock.
        """
        if self._said_something and now > self._base - self._times.least_retry:
            self._base = now + self._allowance
        self._said_something = False
        self._own = _Extras()
        return self._base - now >= self._times.least_retry


class _Extras:
    """What one attempt earned beyond the base time."""

    __slots__ = ("accepted_until", "preamble")

    def __init__(self) -> None:
        self.preamble = False
        self.accepted_until: float | None = None


class BackupClock:
    """What a backup has of its request's clock: what it says buys time for itself alone."""

    def __init__(self, request: FirstContentClock) -> None:
        self._request = request
        self._own = _Extras()

    @property
    def deadline(self) -> float:
        """See ContentClock."""
        return self._request.deadline_with(self._own)

    def remaining_ms(self, now: float) -> int:
        """See ContentClock."""
        return max(1, int((self.deadline - now) * 1000))

    def preamble(self) -> None:
        """See ContentClock."""
        self._request.note_preamble(self._own)

    def accepted(self, now: float) -> None:
        """See ContentClock."""
        self._request.note_accepted(self._own, now)
