"""The score of a machine (acceptance 18), its fading, and how sure a share is."""

from __future__ import annotations

import pytest

from server.registry.reputation import (
    HALF_LIFE_SECONDS,
    Counts,
    is_doubtful,
    proven_share,
    score,
    score_of,
)

DAY = 86_400.0


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({}, 0.5),
        (
            {"jobs_ok": 10, "jobs": 10, "uptime_seconds": DAY, "checks_passed": 10, "latency_ms": 500},
            1.0,
        ),
        (
            {
                "jobs_ok": 8,
                "jobs": 10,
                "uptime_seconds": DAY / 2,
                "checks_passed": 9,
                "checks_failed": 1,
                "latency_ms": 5_500,
            },
            0.70,
        ),
        ({"jobs_ok": 0, "jobs": 5, "checks_failed": 3}, 0.20),
        ({"checks_passed": 1}, 0.60),
        ({"jobs_ok": 1, "jobs": 1, "latency_ms": 20_000, "uptime_seconds": 9 * DAY}, 0.8),
    ],
)
def test_score(known: dict[str, float], expected: float) -> None:
    assert score(**known) == pytest.approx(expected)


def test_counts_fade_by_half_in_a_week() -> None:
    counts = Counts(jobs_ok=8, jobs_failed=2, checks_passed=4, uptime_seconds=DAY, as_of=1_000.0)
    counts.fade(1_000.0 + HALF_LIFE_SECONDS)
    assert (counts.jobs_ok, counts.jobs_failed, counts.checks_passed) == (4, 1, 2)
    assert score_of(counts) == pytest.approx(0.4 * 0.8 + 0.3 + 0.2 + 0.05)
    counts.fade(0.0)
    assert counts.jobs_ok == 4


def test_new_counts_do_not_fade_from_the_beginning_of_time() -> None:
    counts = Counts(jobs_ok=1)
    counts.fade(1e9)
    assert counts.jobs_ok == 1


def test_latency_is_a_slow_mean() -> None:
    counts = Counts()
    for sample in (1_200, 800, 800, 3_000):
        counts.add_latency(sample)
    assert counts.latency_ms == pytest.approx(1_444.8)


def test_one_success_proves_less_than_many() -> None:
    assert proven_share(0, 0) == 0.0
    assert proven_share(1, 1) == pytest.approx(0.2065, abs=1e-3)
    assert proven_share(99, 100) == pytest.approx(0.9455, abs=1e-3)


@pytest.mark.parametrize(
    ("ok", "failed", "doubtful"),
    [(0, 0, False), (0, 11, False), (0, 12, True), (12, 0, False), (70, 30, False), (50, 50, True), (59, 41, True)],
)
def test_a_machine_is_doubted_after_enough_failures(ok: int, failed: int, doubtful: bool) -> None:
    assert is_doubtful(Counts(jobs_ok=ok, jobs_failed=failed)) is doubtful


def test_doubts_fade() -> None:
    counts = Counts(jobs_failed=20, as_of=1_000.0)
    assert is_doubtful(counts)
    counts.fade(1_000.0 + HALF_LIFE_SECONDS)
    assert not is_doubtful(counts)
