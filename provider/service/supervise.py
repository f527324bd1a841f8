"""The parent of a provider where no service manager exists: it starts it again after a crash, with growing pauses.

Only the standard library: this process waits for months and should be small.
"""

import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

FIRST_PAUSE_SECONDS: Final = 10.0
LAST_PAUSE_SECONDS: Final = 300.0
BURST: Final = 3
BURST_SECONDS: Final = 900.0
FINAL_STATUSES: Final = frozenset({0, 2, 64})
"""A stop in order, a wrong configuration and a wrong command line: starting again would change nothing."""


class RestartPolicy:
    """How long to wait before the next start; pure, times are seconds of one clock."""

    def __init__(self) -> None:
        self._starts: deque[float] = deque()
        self._pause = FIRST_PAUSE_SECONDS

    def next_pause(self, status: int, *, now: float, lived: float) -> float | None:
        """Give the pause after an end with this status, or None to give up."""
        if status in FINAL_STATUSES:
            return None
        if lived >= BURST_SECONDS:
            self._starts.clear()
            self._pause = FIRST_PAUSE_SECONDS
        while self._starts and now - self._starts[0] > BURST_SECONDS:
            self._starts.popleft()
        if len(self._starts) >= BURST:
            return None
        self._starts.append(now)
        pause, self._pause = self._pause, min(LAST_PAUSE_SECONDS, self._pause * 2)
        return pause


def supervise(
    command: Sequence[str],
    *,
    restart: bool,
    first_pause: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Run a command until it ends for good; gives its last status. SIGTERM and SIGINT go on to it and end the watch."""
    policy = RestartPolicy()
    stop = threading.Event()
    running: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, _frame: object) -> None:
        stop.set()
        for child in running:
            child.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)
    while True:
        began = clock()
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        running[:] = [child]
        status = child.wait()
        running.clear()
        if stop.is_set() or not restart:
            return status
        pause = policy.next_pause(status, now=clock(), lived=clock() - began)
        if pause is None:
            _tell("ended for good", status)
            return status
        pause = pause if first_pause is None else first_pause
        _tell(f"ended, starts again in {pause:g} s", status)
        if stop.wait(pause):
            return status


def _tell(what: str, status: int) -> None:
    sys.stderr.write(f'{{"level":"warn","logger":"service","msg":"the provider {what}","status":{status}}}\n')
    sys.stderr.flush()
