"""Installing on a machine that cannot compile goes on without the extension, and says so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from native import build

ROOT = Path(__file__).parents[3]


def build_without_compiler(tmp_path: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run setup.py in a copy of the tree with a compiler that always fails."""
    pytest.importorskip("setuptools", minversion="77", reason="the build needs setuptools 77")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "native", tmp_path / "native", ignore=shutil.ignore_patterns("_speed*", "__pycache__"))
    return subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace"],
        cwd=tmp_path,
        env={**os.environ, "CC": "/bin/false", "PYTHONPATH": "", **settings},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_build_without_compiler_goes_on_and_says_so(tmp_path: Path) -> None:
    done = build_without_compiler(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "the C extension native._speed was not built" in done.stderr
    assert "install a C compiler" in done.stderr
    assert not list((tmp_path / "native").glob("_speed*.so"))


def test_strict_build_without_compiler_fails(tmp_path: Path) -> None:
    assert build_without_compiler(tmp_path, DARKBLOOM_NATIVE_STRICT="1").returncode != 0


def test_build_names_every_source() -> None:
    assert sorted(build.SOURCES) == sorted(path.name for path in (ROOT / build.SOURCE_DIR).glob("*.c"))
