"""Settings of the interpreter that suit a long-lived daemon with an engine thread beside its event loop."""

import faulthandler
import gc
import signal
import sys
from typing import Final

SWITCH_INTERVAL_SECONDS: Final = 0.0005


def tune_interpreter() -> None:
    """Let threads take turns quickly, and print all stacks on a crash or on SIGUSR1; call it once, at start."""
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    if sys.stderr is not None:
        faulthandler.enable()
        faulthandler.register(signal.SIGUSR1, all_threads=True)


def settle_heap() -> None:
    """Take what exists after the start out of garbage collection, which then has little to look through."""
    gc.collect()
    gc.freeze()
