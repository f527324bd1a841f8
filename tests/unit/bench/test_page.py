"""The page of the benchmarks: every table with its description and the pace of the machine."""

from __future__ import annotations

from bench.machine import Pace, pace
from bench.page import render


def test_the_page_holds_every_table_and_how_fast_the_machine_was() -> None:
    page = render(
        {"relay": "| a |\n"}, {"relay": "What a chunk costs."}, {"relay": Pace(loop_ns=13.4, random_read_ns=281.0)}
    )
    assert "## `python -m bench relay`\n\nWhat a chunk costs.\n\n| a |\n" in page
    assert "an empty loop took 13 ns an iteration, a random read 281 ns" in page


def test_a_random_read_costs_more_than_a_step_of_a_loop() -> None:
    now = pace()
    assert 0 < now.loop_ns < now.random_read_ns
