"""The way of log lines out of the process: a bounded queue and one writer thread, so that no caller ever waits.

Full queue: debug and info lines are dropped first (a part of the queue is kept for the others), and every dropped
line is counted by level.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections import Counter, deque
from typing import Final

from server.observe.log_format import level_name

MAX_LINES: Final = 8192
RESERVED_FOR_WARNINGS: Final = 1024
# The thread looks for lines at this pace instead of being woken by each one: waking costs the caller more than
# formatting.
LOOK_SECONDS: Final = 0.02
_WRITE_LINES: Final = 256


class QueueingHandler(logging.Handler):
    """Formats a record in its caller's task and leaves the writing to a thread; owns `descriptor` for writing."""

    def __init__(self, descriptor: int, formatter: logging.Formatter, *, max_lines: int = MAX_LINES) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.dropped: Counter[str] = Counter()
        self._descriptor = descriptor
        self._max_lines = max_lines
        self._reserve = min(RESERVED_FOR_WARNINGS, max_lines // 8)
        self._lines: deque[bytes] = deque()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._write_lines, name="log-writer", daemon=True)
        self._closed = False

    def start(self) -> None:
        """Start the writer thread; lines that came before are kept for it."""
        self._thread.start()
        atexit.register(self.stop)

    def emit(self, record: logging.LogRecord) -> None:
        """Queue one line, or count it as dropped; never blocks, never raises."""
        room = self._max_lines - (0 if record.levelno >= logging.WARNING else self._reserve)
        if self._closed or len(self._lines) >= room:
            self.dropped[level_name(record.levelno)] += 1
            return
        try:
            line = self.format(record)
        except Exception:
            self.dropped[level_name(record.levelno)] += 1
            return
        self._lines.append(line.encode("utf-8", "backslashreplace") + b"\n")

    def stop(self) -> None:
        """Write what is queued and end the thread; waits at most 2 s."""
        if not self._closed:
            self._closed = True
            atexit.unregister(self.stop)
            self._ending.set()
            if self._thread.is_alive():
                self._thread.join(2.0)

    def _write_lines(self) -> None:
        while True:
            ended = self._ending.wait(LOOK_SECONDS)
            while self._lines:
                parts = [self._lines.popleft() for _ in range(min(len(self._lines), _WRITE_LINES))]
                self._write(b"".join(parts))
            if ended:
                return

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except OSError:
                self.dropped["unwritten"] += data.count(b"\n")
                return
