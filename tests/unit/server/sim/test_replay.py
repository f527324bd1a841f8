"""The same input gives the same run to the last event, in another process and with another hash seed too."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

from server.sim import simulate
from server.sim.scenarios import build

ROOT = Path(__file__).parents[4]
SCRIPT = """
from server.sim import simulate
from server.sim.scenarios import build
scenario = build("black_holes", 5)
from msgspec import structs
setup = structs.replace(scenario.setup, arrivals=scenario.setup.arrivals[:200])
run = simulate(setup, scenario.policy)
print(run.digest, run.events_logged, run.steps)
"""


def _elsewhere(hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_another_process_with_another_hash_seed_logs_the_same_events() -> None:
    first = _elsewhere("1")
    assert first == _elsewhere("2")
    assert int(first.split()[1]) > 500


def test_another_seed_logs_other_events() -> None:
    digests = {simulate(build("herd", seed).setup).digest for seed in (1, 2)}
    assert len(digests) == 2


def test_the_log_is_what_is_hashed() -> None:
    scenario = build("herd", 1)
    out = io.StringIO()
    run = simulate(scenario.setup, scenario.policy, log=out)
    lines = out.getvalue().splitlines()
    assert len(lines) == run.events_logged
    assert sum(" done " in line for line in lines) == 1_000
    times = [int(line.split()[0]) for line in lines]
    assert times == sorted(times)
