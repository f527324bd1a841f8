"""The environment that child processes get: ours without Darkbloom settings, plus the ones that are meant for them."""

import os
from collections.abc import Mapping
from typing import Final

PREFIX: Final = "DARKBLOOM_"
PASSED_ON: Final = ("DARKBLOOM_NATIVE",)


def child_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Build the environment of a child process; a setting of ours reaches it only through `settings`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX) or name in PASSED_ON}
    return {**kept, **settings}
