"""The environment that child processes get: ours without Darkbloom settings and without what loads foreign code."""

import os
from collections.abc import Mapping
from typing import Final

from provider.hardening import clean_environment

PREFIX: Final = "DARKBLOOM_"
PASSED_ON: Final = ("DARKBLOOM_NATIVE",)


def child_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Build the environment of a child process; a setting of ours reaches it only through `settings`."""
    clean = clean_environment(os.environ)
    kept = {name: value for name, value in clean.items() if not name.startswith(PREFIX) or name in PASSED_ON}
    return {**kept, **settings}
