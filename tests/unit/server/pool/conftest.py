"""Fixtures of the registry's tests."""

from __future__ import annotations

import pytest

from tests.unit.server.registry.fleet import Fleet


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()
