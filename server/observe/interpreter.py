"""What the process is told once at start: thread switching, garbage collection, descriptors, crash dumps."""

from __future__ import annotations

import faulthandler
import gc
import logging
import resource
import signal
import sys
from typing import Final

import trio

from server.observe.task_tree import task_tree

_log = logging.getLogger("darkbloom.process")

# The loop must not wait 5 ms (the default) behind a worker thread that does not let go of the interpreter.
SWITCH_INTERVAL_SECONDS: Final = 0.0005
WANTED_DESCRIPTORS: Final = 65_536
# A full collection walks every object: it runs only here, at a known pace, and its time is logged when it is long.
FULL_COLLECTION_SECONDS: Final = 300.0
LONG_COLLECTION_SECONDS: Final = 0.02
# Objects of the middle generation before a full collection by itself; those after freezing are few.
_GC_THRESHOLDS: Final = (10_000, 20, 1_000_000)


def prepare_process() -> None:
    """Set the switch interval, turn faulthandler on and raise the limit of open descriptors."""
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    if sys.stderr is not None and not faulthandler.is_enabled():
        faulthandler.enable()
    soft, hard = raise_descriptor_limit()
    _log.info("open descriptors are limited", extra={"soft": soft, "hard": hard})


def raise_descriptor_limit() -> tuple[int, int]:
    """Raise the soft limit of open descriptors as far as the hard one lets us; returns (soft, hard)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(WANTED_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            return soft, hard
        soft = wanted
    return soft, hard


def freeze_started_objects() -> None:
    """Take everything that exists out of garbage collection and put full collections off; call it when serving."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


async def collect_garbage() -> None:
    """Run a full collection every five minutes until cancelled."""
    while True:
        await trio.sleep(FULL_COLLECTION_SECONDS)
        started = trio.current_time()
        found = gc.collect()
        seconds = trio.current_time() - started
        if seconds > LONG_COLLECTION_SECONDS:
            _log.info("a full garbage collection was long", extra={"seconds": round(seconds, 4), "found": found})


async def dump_tasks_on_signal() -> None:
    """Print the tree of trio's tasks to standard error at every SIGUSR1, until cancelled."""
    with trio.open_signal_receiver(signal.SIGUSR1) as arrivals:
        async for _ in arrivals:
            root = trio.lowlevel.current_root_task()
            if root is not None:
                sys.stderr.write(task_tree(root) + "\n")
                sys.stderr.flush()
