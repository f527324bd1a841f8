"""Turning the log on for a daemon process."""

import json
import logging
import os
import sys
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final, TextIO

from provider.observe.log_format import JsonFormatter, TextFormatter

_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
_OURS: Final = ("provider", "protocol", "native")

FILE_BYTES: Final = 10 * 1024 * 1024
OLD_FILES: Final = 3


class _Handler(logging.StreamHandler[TextIO]):
    """Writes lines; a line that cannot be written is named by its place, never printed with its exception."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is the library's
        """Say that a line was lost; the record and the exception may hold content."""
        with suppress(OSError, ValueError):
            self.stream.write(_lost(record) + self.terminator)


class _FileHandler(RotatingFileHandler):
    """The same into a file that only the owner may read, kept below ten megabytes."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=FILE_BYTES, backupCount=OLD_FILES, encoding="utf-8", delay=True)

    def _open(self) -> TextIO:  # type: ignore[override]
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.fdopen(os.open(self.baseFilename, flags, 0o600), "a", encoding="utf-8")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is the library's
        """Say on standard error that a line was lost."""
        with suppress(OSError, ValueError):
            sys.stderr.write(_lost(record) + "\n")


def configure_logging(*, form: str, level: str, stream: TextIO | None = None, file: Path | None = None) -> None:
    """Send the log of this process to `file`, else to `stream` (standard error); foreign code speaks from warnings on.

    `form` is auto, json or text; `level` is debug, info, warn or error. Call it once, from the command line.
    """
    target = sys.stderr if stream is None else stream
    handler: logging.Handler = _Handler(target) if file is None else _FileHandler(file)
    as_text = form == "text" or (form == "auto" and file is None and target.isatty())
    handler.setFormatter(TextFormatter() if as_text else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    set_level(level)


def set_level(level: str) -> None:
    """Change the lowest level of our own lines."""
    for name in _OURS:
        logging.getLogger(name).setLevel(_LEVELS[level])


def _lost(record: logging.LogRecord) -> str:
    line = {"level": "error", "logger": "observe", "msg": "log line lost", "place": f"{record.module}:{record.lineno}"}
    return json.dumps(line, separators=(",", ":"))
