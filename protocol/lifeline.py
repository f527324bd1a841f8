"""A child process that must not outlive its parent: when its standard input ends, it is told to stop in order.

The parent keeps the other end of the pipe; however it dies, the kernel closes that end.
"""

import os
import signal
import threading
from typing import Final

STANDARD_INPUT: Final = 0
READ_BYTES: Final = 4096


def stop_with_parent(descriptor: int = STANDARD_INPUT) -> threading.Thread:
    """Send this process a SIGTERM once `descriptor` has ended; the watching thread never delays its exit."""

    def watch() -> None:
        while True:
            try:
                if not os.read(descriptor, READ_BYTES):
                    break
            except OSError:
                break
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=watch, name="lifeline", daemon=True)
    thread.start()
    return thread
