"""The calendar of a simulation: order, cancelling, and an end."""

from __future__ import annotations

import pytest

from server.sim.errors import SimulationError
from server.sim.kernel import Kernel


def test_calls_run_in_order_of_time_and_then_of_planning() -> None:
    kernel, seen = Kernel(), []
    kernel.at(2.0, seen.append, "late")
    kernel.at(1.0, seen.append, "first")
    kernel.at(1.0, seen.append, "second")
    kernel.run(5.0)
    assert seen == ["first", "second", "late"]
    assert kernel.now == 5.0


def test_what_lies_beyond_the_end_waits_for_the_next_run() -> None:
    kernel, seen = Kernel(), []
    kernel.at(3.0, seen.append, "x")
    kernel.run(2.9)
    assert seen == []
    kernel.run(3.0)
    assert seen == ["x"]


def test_a_cancelled_call_is_never_made() -> None:
    kernel, seen = Kernel(), []
    timer = kernel.after(1.0, seen.append, "x")
    timer.cancel()
    timer.cancel()
    kernel.run(2.0)
    assert seen == []
    assert kernel.steps == 0


def test_a_time_that_has_passed_means_now_and_after_what_is_planned_for_now() -> None:
    kernel, seen = Kernel(), []

    def at_two() -> None:
        kernel.at(1.0, seen.append, ("past", kernel.now))

    kernel.at(2.0, at_two)
    kernel.at(2.0, seen.append, "planned before")
    kernel.run(3.0)
    assert seen == ["planned before", ("past", 2.0)]


def test_a_run_without_end_is_stopped() -> None:
    kernel = Kernel(max_steps=100)

    def again() -> None:
        kernel.after(0.0, again)

    again()
    with pytest.raises(SimulationError, match="more than 100 steps"):
        kernel.run(1.0)
