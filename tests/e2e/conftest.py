"""End-to-end scenarios: real processes on loopback, nothing mocked between the consumer and the provider.

Scenarios with the mark `twin_scenario` run twice: with the coordinator's frame pump in C, and with its Python twin.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest

from tests.testbed.coordinator import ADMIN_KEY, Coordinator, Launch, coordinator, parse_log
from tests.testbed.sealed_client import MNEMONIC
from tests.testbed.shared import SharedCoordinators

SEALED_SETTINGS: Mapping[str, str] = {
    "DARKBLOOM_COORDINATOR_MNEMONIC": MNEMONIC,
    "DARKBLOOM_ADMIN_KEYS": ADMIN_KEY,
}
LONGEST = ("canary_provider", "provider_life", "real_provider", "dev", "login", "money_storm", "schemathesis", "storm")
"""The files that take longest. They begin first, so that no worker is left alone with one of them at the end."""
NATIVE_SETTINGS: Mapping[str, Mapping[str, str]] = {"pump": {}, "twin": {"DARKBLOOM_NATIVE": "0"}}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the marked scenarios with both implementations, unless the twin was asked for anyway."""
    marked = metafunc.definition.get_closest_marker("twin_scenario") is not None
    if marked and "native" in metafunc.fixturenames and os.environ.get("DARKBLOOM_NATIVE") != "0":
        metafunc.parametrize("native", list(NATIVE_SETTINGS))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first."""
    items.sort(key=lambda item: item.path.stem.removeprefix("test_") not in LONGEST)


@pytest.fixture
def native() -> str:
    """Which implementation of `native` the coordinator runs with."""
    return "pump"


@pytest.fixture(scope="session")
def shared_coordinators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedCoordinators]:
    """The coordinators of this run that several tests use, one after the other."""
    shared = SharedCoordinators(tmp_path_factory.mktemp("shared"))
    yield shared
    shared.stop()


@pytest.fixture
async def running(shared_coordinators: SharedCoordinators, native: str) -> AsyncIterator[Coordinator]:
    """A coordinator with default settings; the test must leave it idle and without a line of level error."""
    server = shared_coordinators.get(native, NATIVE_SETTINGS[native])
    before = len(server.process.text())
    yield server
    await server.until_idle()
    assert [line for line in parse_log(server.process.text()[before:]) if line["level"] == "error"] == []


@pytest.fixture
async def sealed(shared_coordinators: SharedCoordinators) -> AsyncIterator[Coordinator]:
    """A coordinator with a key for sealed requests and an admin key; the test must leave it idle and without errors."""
    server = shared_coordinators.get("sealed", SEALED_SETTINGS)
    before = len(server.process.text())
    yield server
    await server.until_idle()
    assert [line for line in parse_log(server.process.text()[before:]) if line["level"] == "error"] == []


@pytest.fixture
def launch(tmp_path: Path, native: str) -> Launch:
    """Start a coordinator of the test's own: `async with launch({settings}) as server`."""

    def start(settings: Mapping[str, str] | None = None, **more: object) -> AbstractAsyncContextManager[Coordinator]:
        run = partial(coordinator, tmp_path, {**NATIVE_SETTINGS[native], **(settings or {})})
        return run(**more)  # type: ignore[arg-type]

    return start
