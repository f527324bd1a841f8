"""The state of the process: task tree, loop lag, garbage, descriptors."""

from __future__ import annotations

import gc
import os
import resource
import signal

import pytest
import trio
import trio.testing

from server.observe import Metrics, render
from server.observe.interpreter import dump_tasks_on_signal, freeze_started_objects, raise_descriptor_limit
from server.observe.loop_lag import measure_loop_lag
from server.observe.task_tree import task_tree


async def _sleeper() -> None:
    await trio.sleep_forever()


async def test_task_tree_shows_children_below_their_parent_with_their_place() -> None:
    async def parent() -> None:
        async with trio.open_nursery() as inner:
            inner.start_soon(_sleeper, name="child")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(parent, name="parent")
        await trio.testing.wait_all_tasks_blocked()
        root = trio.lowlevel.current_root_task()
        assert root is not None
        lines = task_tree(root).splitlines()
        nursery.cancel_scope.cancel()
    (above,) = [line for line in lines if line.strip().startswith("parent @")]
    (below,) = [line for line in lines if line.strip().startswith("child @")]
    assert below.startswith(" " * (len(above) - len(above.lstrip()) + 2))
    assert below.endswith("_sleeper")
    assert "test_process.py:" in below


async def test_signal_prints_the_task_tree(capfd: pytest.CaptureFixture[str]) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dump_tasks_on_signal)
        await trio.testing.wait_all_tasks_blocked()
        os.kill(os.getpid(), signal.SIGUSR1)
        with trio.fail_after(5):
            printed = ""
            while "dump_tasks_on_signal" not in printed:
                await trio.lowlevel.checkpoint()
                printed += capfd.readouterr().err
        nursery.cancel_scope.cancel()


async def test_loop_lag_is_observed_ten_times_a_second(autojump_clock: trio.testing.MockClock) -> None:
    metrics = Metrics()
    with trio.move_on_after(1.05):
        await measure_loop_lag(metrics)
    assert "darkbloom_loop_lag_seconds_count 10.0" in render(metrics.families.registry, "")[0].decode()


def test_descriptor_limit_is_raised_to_what_is_allowed() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        lowered = min(256, before[1])
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowered, before[1]))
        soft, hard = raise_descriptor_limit()
        assert (soft, hard) == resource.getrlimit(resource.RLIMIT_NOFILE)
        assert soft == min(65_536, hard) or hard == resource.RLIM_INFINITY
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("_restored_collector")
def test_started_objects_leave_the_collector() -> None:
    thresholds = gc.get_threshold()
    gc.unfreeze()
    freeze_started_objects()
    assert gc.get_freeze_count() > 1000
    assert gc.get_threshold()[2] > thresholds[2]
