"""`bench all` runs every benchmark by the same two functions."""

from __future__ import annotations

import importlib

import pytest

from bench.__main__ import NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_has_what_the_suite_calls(name: str) -> None:
    module = importlib.import_module(f"bench.{name}")
    assert callable(module.run)
    assert callable(module.table)
    assert (module.__doc__ or "").strip()
