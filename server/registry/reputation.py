"""Reputation of a machine: what is counted, how it fades, and the score that operators sort by. Pure.

Gates and breakers decide about work; the score is shown. Where nothing else decides between two machines, one that
fails often stands behind. Failures that are not the machine's fault never get here.
"""

from __future__ import annotations

import math
from typing import Final

from msgspec import Struct

DAY_SECONDS: Final = 86_400.0
HALF_LIFE_SECONDS: Final = 7 * DAY_SECONDS
FULL_UPTIME_SECONDS: Final = DAY_SECONDS
FAST_MS: Final = 1_000.0
SLOW_MS: Final = 10_000.0
LATENCY_ALPHA: Final = 0.2
UNKNOWN: Final = 0.5
WILSON_Z: Final = 1.96
"""95 %."""
DOUBTED_JOBS: Final = 12
"""Fewer jobs prove nothing against a machine."""
DOUBTED_SHARE: Final = 0.5


class Counts(Struct, kw_only=True):
    """What a machine did: jobs, security checks, connected time, and mean latency of jobs (0: none measured).

    The counts fade with a half-life of 7 days, so they are not whole numbers; `as_of` is when they were last faded
    (seconds of a clock that survives restarts).
    """

    jobs_ok: float = 0.0
    jobs_failed: float = 0.0
    checks_passed: float = 0.0
    checks_failed: float = 0.0
    uptime_seconds: float = 0.0
    latency_ms: float = 0.0
    as_of: float = 0.0

    def fade(self, now: float) -> None:
        """Bring the counts to `now`; time that runs backwards fades nothing."""
        factor = 0.5 ** (max(0.0, now - self.as_of) / HALF_LIFE_SECONDS) if self.as_of else 1.0
        self.jobs_ok *= factor
        self.jobs_failed *= factor
        self.checks_passed *= factor
        self.checks_failed *= factor
        self.as_of = max(now, self.as_of)

    def add_latency(self, milliseconds: float) -> None:
        """Mix one latency into the mean."""
        before = self.latency_ms
        self.latency_ms = milliseconds if before <= 0 else before + LATENCY_ALPHA * (milliseconds - before)


def score(
    *,
    jobs_ok: float = 0,
    jobs: float = 0,
    uptime_seconds: float = 0,
    checks_passed: float = 0,
    checks_failed: float = 0,
    latency_ms: float = 0,
) -> float:
    """Return 0..1: four tenths jobs, three uptime, two security checks, one speed; unknown parts count half."""
    checks = checks_passed + checks_failed
    if jobs <= 0 and checks <= 0:
        return UNKNOWN
    speed = (SLOW_MS - latency_ms) / (SLOW_MS - FAST_MS)
    total = (
        0.4 * (jobs_ok / jobs if jobs > 0 else UNKNOWN)
        + 0.3 * (min(1.0, uptime_seconds / FULL_UPTIME_SECONDS) if uptime_seconds > 0 else UNKNOWN)
        + 0.2 * (checks_passed / checks if checks > 0 else UNKNOWN)
        + 0.1 * (min(1.0, max(0.0, speed)) if latency_ms > 0 else UNKNOWN)
    )
    return min(1.0, max(0.0, total))


def score_of(counts: Counts) -> float:
    """The score of faded counts."""
    return score(
        jobs_ok=counts.jobs_ok,
        jobs=counts.jobs_ok + counts.jobs_failed,
        uptime_seconds=counts.uptime_seconds,
        checks_passed=counts.checks_passed,
        checks_failed=counts.checks_failed,
        latency_ms=counts.latency_ms,
    )


def proven_share(ok: float, total: float) -> float:
    """Lower end of the 95 % interval of a share (Wilson): one success of one proves little, 99 of 100 a lot."""
    if total <= 0:
        return 0.0
    share, square = ok / total, WILSON_Z * WILSON_Z
    spread = WILSON_Z * math.sqrt(max(0.0, share * (1 - share) / total + square / (4 * total * total)))
    return max(0.0, (share + square / (2 * total) - spread) / (1 + square / total))


def is_doubtful(counts: Counts) -> bool:
    """Whether a machine failed so often that not even every other of its jobs surely succeeds."""
    if not counts.jobs_failed:
        return False
    jobs = counts.jobs_ok + counts.jobs_failed
    return jobs >= DOUBTED_JOBS and proven_share(counts.jobs_ok, jobs) < DOUBTED_SHARE
