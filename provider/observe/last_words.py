"""What the interpreter itself would print about an exception, cut down to kind and place.

An exception's text may hold what a request said, so the hooks that end on standard error name only where it was raised.
"""

import logging
import sys
import threading
from types import TracebackType

from provider.observe.place import last_place

log = logging.getLogger(__name__)


def mute_exception_texts() -> None:
    """Replace the hooks for exceptions that nobody caught, on the main thread, on others, and in destructors."""
    sys.excepthook = _uncaught
    threading.excepthook = _thread_died
    sys.unraisablehook = _unraisable


def _uncaught(kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        _tell("uncaught exception", error)


def _thread_died(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None:
        _tell("thread died", arguments.exc_value)


def _unraisable(arguments: "sys.UnraisableHookArgs") -> None:
    if arguments.exc_value is not None:
        _tell("exception in a destructor", arguments.exc_value)


def _tell(what: str, error: BaseException) -> None:
    log.critical(what, extra={"fault": type(error).__name__, "place": last_place(error)})
