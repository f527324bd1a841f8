"""Runs a test on the C implementation and on its twin."""

from __future__ import annotations

from types import ModuleType

import pytest

from tests.unit.native.chunk_frames import IMPLEMENTATIONS


@pytest.fixture(params=IMPLEMENTATIONS, ids=lambda module: module.__name__)
def native_impl(request: pytest.FixtureRequest) -> ModuleType:
    """`native.speed` if the extension is built, and `native.pure`."""
    module: ModuleType = request.param
    return module
