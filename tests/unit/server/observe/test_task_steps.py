"""Task steps: classes, quantile, maximum, and that trio reports each step."""

from __future__ import annotations

import pytest
import trio

from server.observe import Metrics, render
from server.observe.task_steps import TaskSteps, measured_task_steps


def _text(metrics: Metrics) -> str:
    return render(metrics.families.registry, "")[0].decode()


def test_quantile_is_the_nearest_rank_within_five_per_cent() -> None:
    steps = TaskSteps()
    for _ in range(998):
        steps.note(0.0002)
    steps.note(0.004)
    assert steps.quantile_seconds() == pytest.approx(0.004)
    steps.note(0.030)
    assert 0.004 <= steps.quantile_seconds() <= 0.0042
    assert steps.max_seconds == 0.030
    steps.note(0.030)
    assert steps.quantile_seconds() == pytest.approx(0.030)


def test_extreme_lengths_have_a_class() -> None:
    steps = TaskSteps()
    assert steps.quantile_seconds() == 0.0
    steps.note(0.0)
    assert steps.quantile_seconds() == 0.0
    steps.note(1e6)
    assert steps.quantile_seconds(1.0) <= 1e6
    assert steps.max_seconds == 1e6


async def test_each_step_of_a_task_is_measured_and_shown() -> None:
    now = 0.0

    def clock() -> float:
        return now

    steps = TaskSteps(clock)

    async def work() -> None:
        nonlocal now
        for seconds in (0.0005, 0.004, 0.06):
            now += seconds
            await trio.lowlevel.checkpoint()

    trio.lowlevel.add_instrument(steps)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(work)
    trio.lowlevel.remove_instrument(steps)
    assert steps.max_seconds == pytest.approx(0.06)
    assert steps.sum_seconds == pytest.approx(0.0645)
    metrics = Metrics()
    metrics.families.registry.register(steps)
    text = _text(metrics)
    rest = steps.count - 3
    for bound, count in (("0.0005", rest + 1), ("0.005", rest + 2), ("0.05", rest + 2), ("+Inf", rest + 3)):
        assert f'darkbloom_task_step_seconds_bucket{{le="{bound}"}} {count}.0' in text
    assert "darkbloom_task_step_max_seconds 0.06" in text
    assert "darkbloom_task_step_p999_seconds 0.06" in text


async def test_measuring_is_a_choice_and_ends_with_its_block() -> None:
    metrics = Metrics()
    with measured_task_steps(metrics, wanted=False):
        await trio.lowlevel.checkpoint()
        assert "darkbloom_task_step" not in _text(metrics)
    with measured_task_steps(metrics, wanted=True):
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        assert "darkbloom_task_step_seconds_count" in _text(metrics)
    assert "darkbloom_task_step" not in _text(metrics)
