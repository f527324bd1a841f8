"""Supervised tasks crash alone, are counted, come back with backoff, and stay down when it is hopeless."""

from __future__ import annotations

import logging
from itertools import pairwise

import pytest
import trio
import trio.testing

from server.observe import Metrics, Supervisor, render


def _value(metrics: Metrics, series: str) -> float | None:
    for line in render(metrics.families.registry, "")[0].decode().splitlines():
        if line.startswith(series + " "):
            return float(line.rsplit(" ", 1)[1])
    return None


def _supervisor(*, strict: bool = False) -> tuple[Supervisor, Metrics]:
    metrics = Metrics()
    return Supervisor(metrics, strict=strict, jitter=lambda: 1.0), metrics


async def test_crash_leaves_siblings_running(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor, metrics = _supervisor()
    seen: list[str] = []
    supervisor.observers.append(lambda name, error: seen.append(f"{name} {type(error).__name__}"))
    lived = False

    async def crash() -> None:
        raise ValueError("x")

    async def live() -> None:
        nonlocal lived
        await trio.sleep(10)
        lived = True

    async with trio.open_nursery() as nursery:
        supervisor.start(nursery, "bad", crash, essential=True)
        supervisor.start(nursery, "good", live)
    assert lived
    assert seen == ["bad ValueError"]
    assert _value(metrics, 'darkbloom_task_crashes_total{task="bad"}') == 1
    assert _value(metrics, 'darkbloom_task_up{task="bad"}') == 0
    assert supervisor.health_reason == "task:bad"
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_backoff_doubles_and_gives_up_after_five_crashes_in_a_minute(
    autojump_clock: trio.testing.MockClock,
) -> None:
    supervisor, metrics = _supervisor()
    starts: list[float] = []

    async def crash() -> None:
        starts.append(trio.current_time())
        raise ValueError

    async with trio.open_nursery() as nursery:
        supervisor.start(nursery, "bad", crash, restart="backoff")
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    assert gaps == pytest.approx([0.1, 0.2, 0.4, 0.8])
    assert _value(metrics, 'darkbloom_task_up{task="bad"}') == 0
    assert supervisor.health_reason is None


async def test_healthy_minute_starts_the_row_anew(autojump_clock: trio.testing.MockClock) -> None:
    supervisor, metrics = _supervisor()
    starts: list[float] = []

    async def crash_after_two_minutes() -> None:
        starts.append(trio.current_time())
        await trio.sleep(120)
        raise ValueError

    with trio.move_on_after(1500):
        async with trio.open_nursery() as nursery:
            supervisor.start(nursery, "slow", crash_after_two_minutes, restart="backoff")
    assert len(starts) > 10
    assert {round(later - earlier, 3) for earlier, later in pairwise(starts)} == {120.1}
    assert _value(metrics, 'darkbloom_task_up{task="slow"}') == 1


@pytest.mark.parametrize(
    "error", [trio.BrokenResourceError("x"), trio.ClosedResourceError("x"), ConnectionResetError()]
)
async def test_expected_ends_are_no_crashes(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    supervisor, metrics = _supervisor(strict=True)

    async def end() -> None:
        raise ExceptionGroup("two", [error, error])

    async with trio.open_nursery() as nursery:
        supervisor.start(nursery, "peer", end)
    assert not caplog.records
    assert _value(metrics, 'darkbloom_task_crashes_total{task="peer"}') is None


async def test_cancellation_is_no_crash_even_in_a_group(caplog: pytest.LogCaptureFixture) -> None:
    supervisor, _ = _supervisor()

    async def wait_in_two_tasks() -> None:
        async with trio.open_nursery() as inner:
            inner.start_soon(trio.sleep_forever)
            inner.start_soon(trio.sleep_forever)

    async with trio.open_nursery() as nursery:
        supervisor.start(nursery, "waiter", wait_in_two_tasks, restart="backoff")
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert not caplog.records


async def test_strict_mode_lets_the_crash_out() -> None:
    supervisor, _ = _supervisor(strict=True)

    async def crash() -> None:
        raise ValueError("x")

    with pytest.raises(ExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            supervisor.start(nursery, "bad", crash, restart="backoff")
    assert caught.group_contains(ValueError)


async def test_broken_observer_harms_nobody() -> None:
    supervisor, metrics = _supervisor()

    def broken(name: str, error: BaseException) -> None:
        raise RuntimeError

    supervisor.observers.append(broken)

    async def crash() -> None:
        raise ValueError("x")

    async with trio.open_nursery() as nursery:
        supervisor.start(nursery, "bad", crash)
    assert _value(metrics, 'darkbloom_task_crashes_total{task="bad"}') == 1
