"""The process around a serving coordinator: interpreter, logging, readiness report, exit code."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import trio

import native
from server.observe import logging_to
from server.observe.interpreter import prepare_process
from server.serve import CatalogUnusable, run_coordinator
from server.store.errors_at_start import StoreCannotOpen, StoreNotConfigured

if TYPE_CHECKING:
    from protocol.settings import Loaded
    from server.config import CoordinatorSettings

_log = logging.getLogger("darkbloom.serve")

EXIT_OK: Final = 0
EXIT_RUN: Final = 1
EXIT_CONFIGURATION: Final = 2


def serve_process(loaded: Loaded[CoordinatorSettings], *, ready_fd: int | None, ready_file: Path | None) -> int:
    """Serve until told to stop and return the exit code: 0 after a drain, 1 for a failure, 2 for unusable files."""
    settings = loaded.settings
    form, level, levels = settings.log_format, settings.log_level, settings.log_levels
    with logging_to(sys.stdout.fileno(), form=form, level=level, levels=levels) as log:
        for warning in loaded.warnings:
            _log.warning("%s", warning)
        prepare_process()
        _report_native()

        def report(urls: list[str]) -> None:
            report_ready(urls, ready_fd=ready_fd, ready_file=ready_file)

        async def run() -> None:
            await run_coordinator(settings, on_ready=report, log=log)

        try:
            trio.run(run)
        except KeyboardInterrupt:
            return EXIT_RUN
        except (Exception, BaseExceptionGroup) as error:
            return _fail(error)
        _log.info("stopped")
        return EXIT_OK


def _report_native() -> None:
    """Say which implementation of the hot path runs, and why it is the slow one if it is."""
    if native.WHY:
        _log.warning("the hot path runs in Python: %s", native.WHY, extra={"native": native.IMPLEMENTATION})
    else:
        _log.info("the hot path runs in C", extra={"native": native.IMPLEMENTATION})


def report_ready(urls: list[str], *, ready_fd: int | None, ready_file: Path | None) -> None:
    """Write `{"url":…,"port":…,"urls":[…],"pid":…}` and a newline to the descriptor (closed after it) and the file."""
    said = {"url": urls[0], "port": urlsplit(urls[0]).port, "urls": urls, "pid": os.getpid()}
    line = json.dumps(said, separators=(",", ":")) + "\n"
    if ready_fd is not None:
        with os.fdopen(ready_fd, "w") as stream:
            stream.write(line)
    if ready_file is not None:
        # Readers poll for the file: it must be whole when it appears.
        written = ready_file.with_name(f".{ready_file.name}.{os.getpid()}")
        written.write_text(line)
        written.replace(ready_file)


def _fail(error: BaseException) -> int:
    """Say what is wrong and return the exit code; the text of a file's or an address's error is ours to show."""
    first = error
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    if isinstance(first, (CatalogUnusable, StoreNotConfigured, StoreCannotOpen, OSError)):
        _log.error("the coordinator cannot run: %s", first)
        sys.stderr.write(f"The coordinator cannot run: {first}\n")
        return EXIT_CONFIGURATION if isinstance(first, (CatalogUnusable, StoreNotConfigured)) else EXIT_RUN
    _log.critical("the coordinator crashed", exc_info=error)
    sys.stderr.write("The coordinator crashed; the log tells where.\n")
    return EXIT_RUN
