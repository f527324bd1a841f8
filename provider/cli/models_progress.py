"""Showing a download: bars on a terminal, a line for every twentieth part elsewhere, JSON lines on request."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from provider.cli.models_shared import size_text

if TYPE_CHECKING:
    from provider.catalog.progress import Listener, Progress

REFRESH_SECONDS = 0.25
PERCENT_STEP = 5


@contextmanager
def show_progress(
    model_id: str, *, as_json: bool, is_terminal: bool | None = None, clock: Callable[[], float] = time.monotonic
) -> Iterator["Listener"]:
    """Give a listener for the length of a download; what it shows goes to the standard error, JSON to the output."""
    if as_json:
        yield _JsonLines(clock).hear
    elif sys.stderr.isatty() if is_terminal is None else is_terminal:
        with _bars(model_id) as listener:
            yield listener
    else:
        yield _Lines(model_id).hear


class _JsonLines:
    """One object for a file at most every quarter of a second, and one when it is verified."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._said_at: dict[str, float] = {}

    def hear(self, progress: "Progress") -> None:
        now = self._clock()
        if progress.phase == "downloading":
            if now - self._said_at.get(progress.file, float("-inf")) < REFRESH_SECONDS:
                return
            self._said_at[progress.file] = now
        event = {
            "event": progress.phase,
            "file": progress.file,
            "file_done": progress.file_done,
            "file_total": progress.file_total,
            "done": progress.done,
            "total": progress.total,
        }
        click.echo(json.dumps(event))


class _Lines:
    """For logs and pipes."""

    def __init__(self, model_id: str) -> None:
        self._model_id = model_id
        self._next = 0

    def hear(self, progress: "Progress") -> None:
        percent = 100 if progress.total <= 0 else progress.done * 100 // progress.total
        if percent < self._next:
            return
        self._next = percent - percent % PERCENT_STEP + PERCENT_STEP
        click.echo(f"{self._model_id}: {percent} % of {size_text(progress.total)}", err=True)


@contextmanager
def _bars(model_id: str) -> Iterator["Listener"]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), refresh_per_second=1 / REFRESH_SECONDS, transient=False) as bars:
        whole = bars.add_task(model_id, total=None)
        files: dict[str, TaskID] = {}

        def hear(progress: "Progress") -> None:
            bars.update(whole, total=progress.total, completed=progress.done)
            if not progress.file:
                return
            if progress.phase == "verified":
                if progress.file in files:
                    bars.remove_task(files.pop(progress.file))
                return
            if progress.file not in files:
                files[progress.file] = bars.add_task(f"  {progress.file}", total=progress.file_total)
            bars.update(files[progress.file], completed=progress.file_done)

        yield hear
