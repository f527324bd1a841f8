"""Turning logging on: format, levels per area, and the queue behind the root logger."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from server.observe.log_format import JsonFormatter, TextFormatter
from server.observe.log_queue import QueueingHandler

_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
# Our own code logs under these; everything else is foreign and speaks from warnings on.
_OURS: Final = ("darkbloom", "server", "protocol", "native")


@contextmanager
def logging_to(
    descriptor: int, *, form: str, level: str, levels: Mapping[str, str] | None = None
) -> Iterator[QueueingHandler]:
    """Send all log lines of the process to `descriptor` until the block ends; then put back what was before.

    `form` is json, text or auto (text on a terminal); `level` and `levels` are debug, info, warn or error, the latter
    by area, such as `registry`.
    """
    text = form == "text" or (form == "auto" and os.isatty(descriptor))
    handler = QueueingHandler(descriptor, TextFormatter() if text else JsonFormatter())
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    changed = {name: logging.getLogger(name).level for name in (*_OURS, *_area_loggers(levels or {}))}
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in _OURS:
        logging.getLogger(name).setLevel(_LEVELS[level])
    for name, wanted in _area_loggers(levels or {}).items():
        logging.getLogger(name).setLevel(_LEVELS[wanted])
    handler.start()
    try:
        yield handler
    finally:
        handler.stop()
        root.handlers[:], level_before = before[0], before[1]
        root.setLevel(level_before)
        for name, number in changed.items():
            logging.getLogger(name).setLevel(number)


def _area_loggers(levels: Mapping[str, str]) -> dict[str, str]:
    return {f"{prefix}.{area}": level for area, level in levels.items() for prefix in ("darkbloom", "server")}
