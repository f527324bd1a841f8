"""Turning the log on for a daemon process."""

import json
import logging
import sys
from contextlib import suppress
from typing import Final, TextIO

from provider.observe.log_format import JsonFormatter, TextFormatter

_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
_OURS: Final = ("provider", "protocol", "native")


class _Handler(logging.StreamHandler[TextIO]):
    """Writes lines; a line that cannot be written is named by its place, never printed with its exception."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is the library's
        """Say that a line was lost; the record and the exception may hold content."""
        line = {
            "level": "error",
            "logger": "observe",
            "msg": "log line lost",
            "place": f"{record.module}:{record.lineno}",
        }
        with suppress(OSError, ValueError):
            self.stream.write(json.dumps(line, separators=(",", ":")) + self.terminator)


def configure_logging(*, form: str, level: str, stream: TextIO | None = None) -> None:
    """Send the log of this process to `stream` (standard error); foreign code speaks from warnings on.

    `form` is auto, json or text; `level` is debug, info, warn or error. Call it once, from the command line.
    """
    target = sys.stderr if stream is None else stream
    handler = _Handler(target)
    as_text = form == "text" or (form == "auto" and target.isatty())
    handler.setFormatter(TextFormatter() if as_text else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in _OURS:
        logging.getLogger(name).setLevel(_LEVELS[level])
