"""Environment variables that can bring foreign code into this process, and the restart without them."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final

FORBIDDEN: Final = (
    "DYLD_FRAMEWORK_PATH",
    "DYLD_INSERT_LIBRARIES",
    "DYLD_LIBRARY_PATH",
    "LD_AUDIT",
    "LD_PRELOAD",
    "PYTHONBREAKPOINT",
    "PYTHONHOME",
    "PYTHONINSPECT",
    "PYTHONPATH",
    "PYTHONSTARTUP",
)

RESTARTED: Final = "DARKBLOOM_RESTARTED"
"""Marks the one restart, so that a launcher which puts the variables back cannot cause a loop."""

Replace = Callable[[str, list[str], Mapping[str, str]], object]


def forbidden_names(environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """List the forbidden variables that are set, by default in this process."""
    values = os.environ if environment is None else environment
    return tuple(name for name in FORBIDDEN if values.get(name))


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Copy an environment without the forbidden variables."""
    return {name: value for name, value in environment.items() if name not in FORBIDDEN}


def restart_with_clean_environment(
    arguments: Sequence[str], environment: Mapping[str, str] | None = None, *, replace: Replace = os.execve
) -> None:
    """Replace this process by `python arguments…` with a clean environment, once; return if there is nothing to do.

    A variable such as LD_PRELOAD has done its work before the first line of Python ran: only a new process is without
    it. Call it before threads, files and locks exist.
    """
    values = dict(os.environ if environment is None else environment)
    if not forbidden_names(values) or values.get(RESTARTED):
        return
    replace(sys.executable, [sys.executable, *arguments], {**clean_environment(values), RESTARTED: "1"})
