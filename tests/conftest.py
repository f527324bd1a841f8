"""Shared settings of all tests: property-test profiles and the rule that nothing reads the caller's environment."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

_QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]

settings.register_profile("ordinary", max_examples=60, deadline=None, suppress_health_check=_QUIET, derandomize=True)
settings.register_profile("nightly", max_examples=500, deadline=None, suppress_health_check=_QUIET)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ordinary"))

FULL = os.environ.get("DARKBLOOM_TEST_FULL") == "1"
_KEPT = {"DARKBLOOM_NATIVE"}

LONGEST = (
    "test_pump_twins",
    "test_traces",
    "test_money_crash",
    "test_payments_crash",
    "test_index",
    "test_scenarios",
    "test_mornings",
)
"""Files that take longest at their nightly length; begun first, they do not run on alone at the end."""

SQL_OF_THEIR_OWN = ("test_admin_catalog", "test_earnings", "test_keys")
"""Files on endpoints and the command line with statements that no test of a lower layer brings to PostgreSQL."""


@pytest.fixture(autouse=True)
def _clean_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a developer's own DARKBLOOM_* settings away from the tests."""
    for name in list(os.environ):
        if name.startswith("DARKBLOOM_") and name not in _KEPT:
            monkeypatch.delenv(name)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the long-running tests to `make test-full`, which begins with their files."""
    if FULL:
        items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))
        return
    skip = pytest.mark.skip(reason="long-running: run by make test-full")
    for item in items:
        if item.get_closest_marker("nightly") or _repeats_on_postgresql(item):
            item.add_marker(skip)


def _repeats_on_postgresql(item: pytest.Item) -> bool:
    """Whether an endpoint or a command is tested once more on PostgreSQL, whose statements its layers have tested."""
    room = item.path.parent.name
    return room in ("api", "cli") and item.name.endswith("[postgres]") and item.path.stem not in SQL_OF_THEIR_OWN


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the modules and the tests themselves, which stay to the end, away from the garbage collector."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
