"""Turning the log on for a daemon process."""

import logging
import sys
from typing import Final, TextIO

from provider.observe.log_format import JsonFormatter, TextFormatter

_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
_OURS: Final = ("provider", "protocol", "native")


def configure_logging(*, form: str, level: str, stream: TextIO | None = None) -> None:
    """Send the log of this process to `stream` (standard error); foreign code speaks from warnings on.

    `form` is auto, json or text; `level` is debug, info, warn or error. Call it once, from the command line.
    """
    target = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(target)
    as_text = form == "text" or (form == "auto" and target.isatty())
    handler.setFormatter(TextFormatter() if as_text else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in _OURS:
        logging.getLogger(name).setLevel(_LEVELS[level])
