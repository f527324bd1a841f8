"""A process that dies at any statement of a deposit, a withdrawal or a webhook loses no money and moves none twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.store.dialect import EngineKind
from tests.crash import payments_scenarios
from tests.testbed.crash import crash_everywhere
from tests.testbed.needs import absent
from tests.testbed.postgres_server import NoServer

LEAST_STATEMENTS = {
    "buy": 20,
    "deposit_hook": 15,
    "refund_hook": 15,
    "onboard": 8,
    "withdraw_standard": 20,
    "withdraw_instant": 25,
    "withdraw_rejected": 25,
    "withdraw_payout_rejected": 25,
    "bounce_hook": 15,
    "reversal_hook": 15,
    "sweep_hook": 12,
}
"""So many places to die at, at least: the test must not become empty unnoticed."""


ORDINARY = {
    *(("sqlite", name) for name in ("buy", "withdraw_instant")),
}
CASES = [
    pytest.param(name, kind, marks=() if (kind, name) in ORDINARY else pytest.mark.nightly, id=f"{name}-{kind}")
    for name in LEAST_STATEMENTS
    for kind in ("sqlite", "postgres")
]


@pytest.mark.parametrize(("name", "kind"), CASES)
async def test_no_money_is_lost_or_moved_twice(name: str, kind: EngineKind, tmp_path: Path) -> None:
    scenario = getattr(payments_scenarios, name)
    try:
        deaths = await crash_everywhere(kind, f"tests.crash.payments_scenarios:{name}", scenario, tmp_path)
    except NoServer as problem:
        absent(problem)
    assert deaths >= LEAST_STATEMENTS[name]
