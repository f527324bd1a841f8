"""The way of log lines out of the process: a bounded queue and one writer thread, so that no caller ever waits.

Full queue: debug and info lines are dropped first (a part of the queue is kept for the others), and every dropped
line is counted by level.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections import Counter
from queue import Empty, SimpleQueue
from typing import Final

from server.observe.log_format import level_name

MAX_LINES: Final = 8192
RESERVED_FOR_WARNINGS: Final = 1024
_WRITE_BYTES: Final = 64 * 1024


class QueueingHandler(logging.Handler):
    """Formats a record in its caller's task and leaves the writing to a thread; owns `descriptor` for writing."""

    def __init__(self, descriptor: int, formatter: logging.Formatter, *, max_lines: int = MAX_LINES) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.dropped: Counter[str] = Counter()
        self._descriptor = descriptor
        self._max_lines = max_lines
        self._reserve = min(RESERVED_FOR_WARNINGS, max_lines // 8)
        self._lines: SimpleQueue[bytes | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._write_lines, name="log-writer", daemon=True)
        self._closed = False

    def start(self) -> None:
        """Start the writer thread; lines that came before are kept for it."""
        self._thread.start()
        atexit.register(self.stop)

    def emit(self, record: logging.LogRecord) -> None:
        """Queue one line, or count it as dropped; never blocks, never raises."""
        room = self._max_lines - (0 if record.levelno >= logging.WARNING else self._reserve)
        if self._closed or self._lines.qsize() >= room:
            self.dropped[level_name(record.levelno)] += 1
            return
        try:
            line = self.format(record)
        except Exception:
            self.dropped[level_name(record.levelno)] += 1
            return
        self._lines.put(line.encode("utf-8", "backslashreplace") + b"\n")

    def stop(self) -> None:
        """Write what is queued and end the thread; waits at most 2 s."""
        if not self._closed:
            self._closed = True
            atexit.unregister(self.stop)
            self._lines.put(None)
            if self._thread.is_alive():
                self._thread.join(2.0)

    def _write_lines(self) -> None:
        ended = False
        while not ended:
            parts: list[bytes] = []
            size = 0
            line = self._lines.get()
            while line is not None:
                parts.append(line)
                size += len(line)
                if size >= _WRITE_BYTES:
                    break
                try:
                    line = self._lines.get_nowait()
                except Empty:
                    break
            ended = line is None
            self._write(b"".join(parts))

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except OSError:
                self.dropped["unwritten"] += data.count(b"\n")
                return
