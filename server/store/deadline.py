"""The time limits of the store and the way a failed transaction is tried again.

Durations in seconds.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar, TypeVarTuple

import trio

from server.store.errors import StoreUnavailable

T = TypeVar("T")
Args = TypeVarTuple("Args")

WRITE_SECONDS: Final = 10.0
READ_SECONDS: Final = 10.0
STATISTICS_SECONDS: Final = 30.0
CLOSE_SECONDS: Final = 5.0

_TRIES: Final = 5
_FIRST_PAUSE_SECONDS: Final = 0.010


class TryAgain(Exception):
    """The transaction was rolled back by a conflict with another one; the same work may succeed now."""


class ConnectionLost(Exception):
    """The connection broke; nobody knows whether a COMMIT under way took effect."""


async def run_whole(attempt: Callable[[], Awaitable[T]]) -> T:
    """Run a transaction until it succeeds: 5 tries after conflicts, 2 after lost connections.

    Raises StoreUnavailable when the tries are used up.
    """
    conflicts = losses = 0
    while True:
        try:
            return await attempt()
        except TryAgain:
            conflicts += 1
            if conflicts == _TRIES:
                raise StoreUnavailable(
                    f"The database was busy with conflicting work {_TRIES} times in a row; try again."
                ) from None
        except ConnectionLost as loss:
            losses += 1
            if losses == 2:
                raise StoreUnavailable(str(loss)) from None
        pause = _FIRST_PAUSE_SECONDS * 2 ** (conflicts + losses - 1)
        await trio.sleep(pause * random.uniform(1.0, 1.5))


async def within(seconds: float, work: Callable[[*Args], Awaitable[T]], *args: *Args, shielded: bool, what: str) -> T:
    """Run `work(*args)` with a deadline; StoreUnavailable when it passes. Shielded: the caller's cancellation waits."""
    with trio.CancelScope(deadline=trio.current_time() + seconds, shield=shielded) as scope:
        return await work(*args)
    assert scope.cancelled_caught
    raise StoreUnavailable(f"The database did not finish {what} within {seconds:g} s; try again.")
