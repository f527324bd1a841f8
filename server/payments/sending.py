"""Sending money with doubt kept in view: up to three attempts under one key, and what their answers prove together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeAlias, TypeVar

from server.payments.failures import StripeRejected, StripeUnclear

T = TypeVar("T")

ATTEMPTS: Final = 3
FIRST_PAUSE_SECONDS: Final = 0.5

Pause: TypeAlias = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Sent(Generic[T]):
    """Stripe did it, now or at an earlier attempt."""

    answer: T


@dataclass(frozen=True, slots=True)
class Rejected:
    """Stripe refused. `after_doubt`: an earlier attempt had no clear outcome, so the refusal proves nothing."""

    failure: StripeRejected
    after_doubt: bool


@dataclass(frozen=True, slots=True)
class Unclear:
    """No attempt had a clear outcome; the money may have moved."""

    why: str


Outcome: TypeAlias = Sent[T] | Rejected | Unclear


async def send(attempt: Callable[[], Awaitable[T]], *, doubt: bool, pause: Pause) -> Outcome[T]:
    """Try up to three times, pausing 0.5 s and 1 s between; `doubt` says that there were attempts before.

    Cancelled in between, the outcome is not known.
    """
    why = ""
    for number in range(ATTEMPTS):
        if number:
            await pause(FIRST_PAUSE_SECONDS * 2 ** (number - 1))
        try:
            return Sent(await attempt())
        except StripeUnclear as unclear:
            doubt, why = True, unclear.why
        except StripeRejected as rejected:
            return Rejected(rejected, doubt)
    return Unclear(why)
