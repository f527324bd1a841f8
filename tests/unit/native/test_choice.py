"""Which implementation is chosen, and why."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import native
from native import pure, shapes

ROOT = Path(__file__).parents[3]
_PROGRAM = "import sys\n{before}\nimport native\nprint(native.IMPLEMENTATION)\nprint(native.WHY)\n{after}"


def chosen(setting: str | None, before: str = "", after: str = "") -> tuple[str, str]:
    """IMPLEMENTATION and WHY in a fresh interpreter."""
    environment = {name: value for name, value in os.environ.items() if name != "DARKBLOOM_NATIVE"}
    if setting is not None:
        environment["DARKBLOOM_NATIVE"] = setting
    program = _PROGRAM.format(before=before, after=after)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=ROOT,
    )
    implementation, why = done.stdout.split("\n")[:2]
    return implementation, why


def test_zero_asks_for_the_twin() -> None:
    after = "assert native.Pump is native.pure.Pump and native.scan_type is native.pure.scan_type"
    assert chosen("0", after=after) == ("python", "DARKBLOOM_NATIVE=0 asks for the pure-Python twin.")


def test_extension_is_used_if_it_is_built() -> None:
    pytest.importorskip("native._speed", reason="the extension is not built")
    after = "import native.speed\nassert native.Pump is native.speed.Pump"
    assert chosen(None, after=after) == ("c", "")
    assert chosen("1") == ("c", "")


def test_missing_extension_means_the_twin() -> None:
    implementation, why = chosen(None, before="sys.modules['native._speed'] = None")
    assert implementation == "python"
    assert why == "The C extension is not built; with a compiler and Python's headers: `python setup.py build_ext -i`."


def test_missing_libsodium_function_means_the_twin() -> None:
    pytest.importorskip("native._speed", reason="the extension is not built")
    lines = [
        "import types, nacl.bindings, nacl._sodium as s",
        "sys.modules['nacl._sodium'] = types.SimpleNamespace(ffi=s.ffi, lib=object())",
    ]
    before = "\n".join(lines)
    implementation, why = chosen(None, before=before)
    assert implementation == "python"
    assert "cannot be used" in why


def test_self_test_names_what_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("native._speed", reason="the extension is not built")
    from native import self_test

    assert self_test.failure() == ""
    monkeypatch.setitem(self_test._LIMITS, "DB_EVENT_LIMIT", 63)
    assert "DB_EVENT_LIMIT is not 63" in self_test.failure()
    monkeypatch.setitem(self_test._LIMITS, "DB_EVENT_LIMIT", shapes.EVENT_LIMIT)
    monkeypatch.setattr(self_test, "_SEALED", self_test._SEALED[:-8] + b"AAAAAA==")
    assert "fails its self-test" in self_test.failure()


@pytest.mark.parametrize("name", pure.__all__)
def test_twin_has_every_function_of_the_face(name: str) -> None:
    assert getattr(native, name) in {getattr(module, name) for module in modules()}


def modules() -> list[ModuleType]:
    """Twin and, if it is built, the C implementation."""
    from tests.unit.native.chunk_frames import IMPLEMENTATIONS

    return IMPLEMENTATIONS
