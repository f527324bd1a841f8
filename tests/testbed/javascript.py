"""Node.js programs in tests: the one npm package that they need is installed once for each virtual environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import trio

PACKAGE = "tweetnacl@1.0.3"
INSTALL_SECONDS = 120.0


async def run_module(program: str, folder: Path, settings: dict[str, str], *, seconds: float = 60.0) -> str:
    """Run an ES module and give what it printed; skips the test where there is no node, fails for any other reason."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are needed for this test; install Node.js 18 or newer.")
    home = Path(sys.prefix) / "share" / "darkbloom-js"
    if not (home / "node_modules" / "tweetnacl").is_dir():
        await _install(npm, home)
    (folder / "node_modules").symlink_to(home / "node_modules")
    (folder / "program.mjs").write_text(program)
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **settings}
    with trio.fail_after(seconds):
        done = await trio.run_process(
            [node, "program.mjs"], cwd=folder, env=environment, capture_stdout=True, capture_stderr=True, check=False
        )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


async def _install(npm: str, home: Path) -> None:
    home.mkdir(parents=True, exist_ok=True)
    command = [npm, "install", "--prefix", str(home), "--no-audit", "--no-fund", "--ignore-scripts", PACKAGE]
    with trio.fail_after(INSTALL_SECONDS):
        done = await trio.run_process(command, cwd=home, capture_stdout=True, stderr=subprocess.STDOUT, check=False)
    assert done.returncode == 0, f"npm could not install {PACKAGE}: {done.stdout.decode()}"
