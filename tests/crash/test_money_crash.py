"""A process that dies at any statement of hold, settle or release loses nothing, doubles nothing, and owes nobody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from server.store.dialect import EngineKind
from tests.testbed import crash_money
from tests.testbed.crash import crash_everywhere
from tests.testbed.needs import absent
from tests.testbed.postgres_server import NoServer

LEAST_STATEMENTS = {
    "hold": 7,
    "release": 6,
    "settle_again": 11,
    "settle_after_restart": 11,
    "whole_request": 18,
    "failed_request": 12,
    "covered_request": 11,
    "own_machine": 6,
    "raise_and_lower": 16,
    "sweep": 9,
}
"""So many places to die at, at least: the test must not become empty unnoticed."""


ORDINARY = {
    "sqlite": {"hold", "release", "settle_again", "whole_request", "sweep"},
    "postgres": {"hold"},
}
"""The basic operations, and one request from end to end; the rest is left to the long run."""


def _cases() -> Iterator[object]:
    for name in LEAST_STATEMENTS:
        for kind, ordinary in ORDINARY.items():
            marks = [] if name in ordinary else [pytest.mark.nightly]
            yield pytest.param(name, kind, id=f"{name}-{kind}", marks=marks)


@pytest.mark.parametrize(("name", "kind"), list(_cases()))
async def test_nothing_is_lost_wherever_it_dies(name: str, kind: EngineKind, tmp_path: Path) -> None:
    scenario = getattr(crash_money, name)
    try:
        deaths = await crash_everywhere(kind, f"tests.testbed.crash_money:{name}", scenario, tmp_path)
    except NoServer as problem:
        absent(problem)
    assert deaths >= LEAST_STATEMENTS[name]
