"""What a test needs from the machine and does not find there."""

from __future__ import annotations

import importlib
import os
from typing import Any, Final, NoReturn

import pytest

MUST_RUN: Final = os.environ.get("CI", "").lower() not in ("", "0", "false")
"""An integration run: everything that the tests need has been installed, so nothing may be left out."""


def absent(what: object) -> NoReturn:
    """Skip the test, or the whole module of tests, and say why; in an integration run fail it."""
    if MUST_RUN:
        pytest.fail(str(what), pytrace=False)
    pytest.skip(str(what), allow_module_level=True)


def module(name: str) -> Any:
    """Import a module that not every machine has; where it is not there, it is `absent`."""
    try:
        return importlib.import_module(name)
    except ImportError as problem:
        absent(f"The module {name} is needed for this test and cannot be imported ({problem}).")
