"""The scenarios that run with the Python twin of the hot path as well: exactly these, and really with it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from native import IMPLEMENTATION
from tests.testbed.consumer import chat
from tests.testbed.coordinator import API_KEY, Coordinator
from tests.testbed.sim_provider import MODEL, SimulatedProvider
from tests.testbed.sim_script import say

SCENARIOS = {
    "test_failure_before_content_is_not_noticed",
    "test_cheating_before_content_fails_over_and_costs_the_trust",
    "test_malformed_and_unknown_frames_are_dropped_and_counted",
    "test_message_at_the_limit_is_taken_and_one_byte_more_closes_1009",
    "test_leaving_mid_stream_cancels_once_and_frees_the_place",
    "test_stalled_reader_is_cancelled_and_delays_nobody",
    "test_running_streams_finish_and_new_requests_are_refused",
    "test_coordinator_runs_the_implementation_that_was_asked_for",
}
FOLDER = Path(__file__).parent


def is_marked(function: ast.AsyncFunctionDef) -> bool:
    """Tell whether a test carries the mark."""
    return any(ast.unparse(decorator) == "pytest.mark.twin_scenario" for decorator in function.decorator_list)


def test_marked_scenarios_have_the_named_eight_among_them() -> None:
    marked = {
        node.name
        for path in FOLDER.glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.AsyncFunctionDef) and is_marked(node)
    }
    assert marked >= SCENARIOS
    assert len(SCENARIOS) == 8


@pytest.mark.twin_scenario
async def test_coordinator_runs_the_implementation_that_was_asked_for(running: Coordinator, native: str) -> None:
    said = [line["native"] for line in running.lines() if "native" in line]
    assert said == ["python" if native == "twin" else IMPLEMENTATION]
    async with SimulatedProvider(answering=say("a", "b", "c", "d")).session(running.link_url):
        assert (await chat(running.port, API_KEY, MODEL))[1] == "abcd"
