"""Letting a staged program load what serving needs, before anything depends on it.

A running provider has given up the right to start programs (decision 0012), so a helper that was started before does it
on request. It starts one program only, the one at the place where releases are staged, and ends when its standard input
does. This file is also the helper's program, and needs nothing but the standard library.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

SMOKE_SECONDS: Final = 120.0
MAX_ANSWER_CHARACTERS: Final = 200
RUNS: Final = "runs"

TryOut = Callable[[Path], str]
"""Tries a program: `RUNS`, or why it does not run here; blocks."""


def try_here(entry: Path) -> str:
    """Try a program as a child of this process."""
    try:
        status = subprocess.run(
            [str(entry), "runtime-smoke"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=SMOKE_SECONDS,
            check=False,
        ).returncode
    except (OSError, subprocess.TimeoutExpired) as error:
        return type(error).__name__
    return RUNS if status == 0 else f"status {status}"


class TrialHelper:
    """Make it while this process may still start programs; use it from one thread at a time."""

    def __init__(self, entry: Path) -> None:
        """Start the helper for the program at this place; raises `OSError`."""
        self._entry = entry
        self._child = subprocess.Popen(
            [sys.executable, "-I", "-B", __file__, str(entry)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def try_out(self, entry: Path) -> str:
        """Have the program tried."""
        asked, answers = self._child.stdin, self._child.stdout
        assert asked is not None
        assert answers is not None
        if entry != self._entry:
            return "it does not lie where releases are staged"
        try:
            asked.write("\n")
            asked.flush()
            answer = answers.readline(MAX_ANSWER_CHARACTERS).strip()
        except (OSError, ValueError):
            answer = ""
        return answer or "its helper has ended"

    def close(self) -> None:
        """End the helper; so does the end of this process."""
        self._child.kill()
        with self._child:
            pass


def _serve(entry: Path) -> None:
    for _line in sys.stdin:
        sys.stdout.write(f"{try_here(entry)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
