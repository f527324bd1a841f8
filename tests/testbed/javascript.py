"""Node.js programs in tests: the one npm package that they need is installed by scripts/install_test_programs.sh."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import trio

from tests.testbed.needs import absent


async def run_module(program: str, folder: Path, settings: dict[str, str], *, seconds: float = 60.0) -> str:
    """Run an ES module and give what it printed; skips the test where there is no node, fails for any other reason."""
    node = shutil.which("node")
    if node is None:
        absent("Node.js 18 or newer is needed for this test; install it and run make test again.")
    modules = Path(sys.prefix) / "share" / "darkbloom-js" / "node_modules"
    assert (modules / "tweetnacl").is_dir(), "tweetnacl is missing; run scripts/install_test_programs.sh."
    (folder / "node_modules").symlink_to(modules)
    (folder / "program.mjs").write_text(program)
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **settings}
    with trio.fail_after(seconds):
        done = await trio.run_process(
            [node, "program.mjs"], cwd=folder, env=environment, capture_stdout=True, capture_stderr=True, check=False
        )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()
