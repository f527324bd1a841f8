"""What a test needs from the machine and does not find there."""

from __future__ import annotations

import os
from typing import Final, NoReturn

import pytest

MUST_RUN: Final = os.environ.get("CI", "").lower() not in ("", "0", "false")
"""An integration run: everything that the tests need has been installed, so nothing may be left out."""


def absent(what: object) -> NoReturn:
    """Skip the test, and say why; in an integration run fail it."""
    if MUST_RUN:
        pytest.fail(str(what), pytrace=False)
    pytest.skip(str(what))
