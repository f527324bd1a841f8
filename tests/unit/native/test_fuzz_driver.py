"""The fuzz driver builds without a warning and runs a moment without a fault; `make fuzz` lets it run longer."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="the sanitizer build needs gcc")
def test_fuzz_driver_runs_without_a_fault() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "fuzz_native.py"), "--seconds", "1", "--seed", "7"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "cases without a fault (seed 7)" in done.stdout
