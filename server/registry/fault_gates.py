"""The single gates of fault memory: breakers, cooldowns, clamps, ceilings, strikes, each a small state machine.

Pure: every method takes `now` (seconds of the monotonic clock), and no question changes an answer.
Source: routing, fault memory.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

NEVER: Final = -math.inf
"""A hold that is not in force."""
REJECT_WINDOW: Final = 300.0
REJECT_OUTCOMES_MIN: Final = 8
REJECT_RATE_FREE: Final = 0.25
OUTCOMES_KEPT: Final = 256

ERROR_STRIKES: Final = 2
ERROR_WINDOW: Final = 60.0
ERROR_COOLDOWN: Final = 300.0

CLAMP_SECONDS: Final = 300.0
CLAMP_ROOM_SECONDS: Final = 30.0
CLAMP_FREE_TOKENS: Final = 1_024
CEILING_SECONDS: Final = 600.0
CEILING_STEP: Final = 1_024
CEILING_ACCEPTS: Final = 4
CEILING_GROWTH: Final = 0.25


class Outcomes:
    """The last good and bad outcomes within a window, counted as they come and go."""

    __slots__ = ("_bad", "_recent", "_window")

    def __init__(self, window: float = REJECT_WINDOW) -> None:
        self._window = window
        self._recent: deque[tuple[float, bool]] = deque()
        self._bad = 0

    def add(self, now: float, *, rejected: bool) -> None:
        """Append an outcome; the oldest one leaves when there are too many."""
        if len(self._recent) >= OUTCOMES_KEPT:
            self._drop_oldest()
        self._recent.append((now, rejected))
        self._bad += rejected

    def share(self, now: float, at_least: int) -> float | None:
        """Share of bad outcomes within the window; None with fewer than `at_least`."""
        self._expire(now)
        count = len(self._recent)
        return self._bad / count if count >= at_least else None

    def rate(self, now: float) -> float:
        """Share of refusals within the window when it is high enough over enough outcomes, else 0."""
        rate = self.share(now, REJECT_OUTCOMES_MIN)
        return rate if rate is not None and rate > REJECT_RATE_FREE else 0.0

    def has_refusals(self, now: float) -> bool:
        """Whether a bad outcome lies within the window."""
        self._expire(now)
        return self._bad > 0

    def next_expiry(self) -> float:
        """When time alone changes the share: the oldest outcome leaves; never without a bad one."""
        return self._recent[0][0] + self._window if self._bad else math.inf

    def clear(self) -> None:
        """Forget all."""
        self._recent.clear()
        self._bad = 0

    def _expire(self, now: float) -> None:
        while self._recent and now - self._recent[0][0] > self._window:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, bad = self._recent.popleft()
        self._bad -= bad


class Hold:
    """A gate that closes for a while, twice as long at each trip without a success in between."""

    __slots__ = ("_first", "_longest", "trips", "until")

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self.trips = 0
        self.until = NEVER

    def trip(self, now: float) -> None:
        """Close."""
        self.until = now + min(self._longest, self._first * 2**self.trips)
        self.trips += 1

    def closed(self, now: float) -> bool:
        """Whether nothing may pass."""
        return now < self.until

    def reset(self) -> None:
        """Open, and forget the trips."""
        self.trips = 0
        self.until = NEVER


class Breaker:
    """Closes after so many failures in a row, or when too large a share of enough outcomes in a window failed."""

    __slots__ = ("_in_row", "_limit", "_min_outcomes", "_share", "hold", "outcomes")

    def __init__(
        self, *, in_row: int, window: float, min_outcomes: int, share: float, first: float, longest: float
    ) -> None:
        self._limit = in_row
        self._min_outcomes = min_outcomes
        self._share = share
        self._in_row = 0
        self.outcomes = Outcomes(window)
        self.hold = Hold(first, longest)

    def failed(self, now: float) -> None:
        """Count a failure; after a hold the first one closes again."""
        self.outcomes.add(now, rejected=True)
        self._in_row += 1
        if self.hold.closed(now):
            return  # what was under way when it closed says nothing new
        share = self.outcomes.share(now, self._min_outcomes)
        if self._in_row >= self._limit or (share is not None and share > self._share):
            self.hold.trip(now)

    def succeeded(self, now: float) -> None:
        """Count a success, which opens the gate."""
        self.outcomes.add(now, rejected=False)
        self._in_row = 0
        if self.hold.trips:
            self.hold.reset()
            self.outcomes.clear()


class BlackHole:
    """The cooldown of a machine that takes no request of a model although it reports room for it.

    After the cooldown one request goes there as a probe; the others wait for its outcome, 30 s at most.
    """

    REJECTS: Final = 5
    WINDOW: Final = 60.0
    FIRST: Final = 120.0
    LONGEST: Final = 600.0
    PROBE: Final = 30.0

    __slots__ = ("_hold", "_probe_until", "_rejects")

    def __init__(self) -> None:
        self._hold = Hold(self.FIRST, self.LONGEST)
        self._rejects: deque[float] = deque(maxlen=self.REJECTS)
        self._probe_until = NEVER

    @property
    def suspect(self) -> bool:
        """Whether a question about this pair may have an answer."""
        return self._hold.trips > 0

    def rejected(self, now: float) -> None:
        """Count a refusal; a refused probe closes at once."""
        if self._hold.closed(now):
            return  # what was under way when it closed says nothing new
        self._rejects.append(now)
        full = len(self._rejects) == self.REJECTS and now - self._rejects[0] <= self.WINDOW
        if full or self._hold.trips:
            self._hold.trip(now)
            self._rejects.clear()
            self._probe_until = NEVER

    def accepted(self) -> None:
        """The machine took a request."""
        self._rejects.clear()
        self._hold.reset()
        self._probe_until = NEVER

    def reserved(self, now: float) -> None:
        """A request goes there: after a cooldown it is the probe."""
        if self._hold.trips and not self._hold.closed(now):
            self._probe_until = now + self.PROBE

    def closed(self, now: float) -> bool:
        """Whether the pair takes no request now."""
        return self._hold.closed(now) or now < self._probe_until

    def wants_probe(self, now: float) -> bool:
        """Whether the next request is the one that tries the machine again."""
        return self._hold.trips > 0 and not self.closed(now)

    @property
    def until(self) -> float:
        """When time alone opens it."""
        return max(self._hold.until, self._probe_until)


class Clamp:
    """A pair whose provider refused for lack of room: its reported headroom counts as none until it proves otherwise.

    It ends with a report of free tokens and a later accepted request. A machine that reports room and serves nothing
    can prove nothing: it is tried again half a minute after that report, any other five minutes after the refusal.
    """

    __slots__ = ("_seen_room", "until")

    def __init__(self) -> None:
        self.until = NEVER
        self._seen_room = False

    def engage(self, now: float) -> None:
        """A refusal."""
        self.until = now + CLAMP_SECONDS
        self._seen_room = False

    def reported(self, free_tokens: int, now: float) -> None:
        """A heartbeat after the refusal."""
        if not self._seen_room and free_tokens >= CLAMP_FREE_TOKENS:
            self._seen_room = True
            self.until = min(self.until, now + CLAMP_ROOM_SECONDS)

    def accepted(self) -> None:
        """A request was taken."""
        if self._seen_room:
            self.until = NEVER

    def engaged(self, now: float) -> bool:
        """Whether the pair counts as full."""
        return now < self.until


class Ceiling:
    """The token budget that a provider really honours, learned from refusals below what it advertises."""

    __slots__ = ("_accepts", "_value", "tightened_at")

    def __init__(self) -> None:
        self._value: int | None = None
        self._accepts = 0
        self.tightened_at = 0.0

    def rejected(self, committed: int, need: int, advertised: int, now: float) -> None:
        """A request for `need` tokens was refused with `committed` tokens taken: only ever tightens."""
        learned = max(committed + need - CEILING_STEP, committed, CEILING_STEP)
        if learned < advertised and (self._value is None or learned < self._value):
            self._value = learned
            self.tightened_at = now
            self._accepts = 0

    def accepted(self, advertised: int) -> None:
        """A request was taken; every fourth one loosens, until nothing is left of the ceiling."""
        if self._value is None:
            return
        self._accepts += 1
        if self._accepts < CEILING_ACCEPTS:
            return
        self._accepts = 0
        self._value += max(int(self._value * CEILING_GROWTH), CEILING_STEP)
        if 0 < advertised <= self._value:
            self._value = None

    def value(self, now: float) -> int | None:
        """The ceiling in tokens; None without one, and ten minutes after it was last tightened."""
        if self._value is not None and now - self.tightened_at >= CEILING_SECONDS:
            return None
        return self._value


class Strikes:
    """Faults of one request shape of a model: the second within a minute closes the shape for five."""

    __slots__ = ("_strikes", "until")

    def __init__(self) -> None:
        self._strikes: deque[tuple[float, bool]] = deque(maxlen=ERROR_STRIKES)
        self.until = NEVER

    def strike(self, now: float, *, disconnect: bool) -> None:
        """Count one fault; `disconnect` for one that was only a lost connection."""
        self._strikes.append((now, disconnect))
        if len(self._strikes) == ERROR_STRIKES and now - self._strikes[0][0] <= ERROR_WINDOW:
            self.until = now + ERROR_COOLDOWN

    def forgive_disconnects(self) -> None:
        """Forget what came from lost connections alone."""
        kept = [one for one in self._strikes if not one[1]]
        if len(kept) < len(self._strikes):
            self._strikes.clear()
            self._strikes.extend(kept)
            self.until = NEVER
