"""What a service does before anything that could fail: count the start of a version on trial, or leave it for good.

The version before takes the place of this process, not of the next one: service managers give up after three starts in
fifteen minutes, and the one of the update itself is among them.
"""

import logging
import os
import sys
from pathlib import Path

from protocol.release_bundle import ENTRY
from provider.update.install import roll_back
from provider.update.place import CURRENT, Installation
from provider.update.release import ReleaseRefused
from provider.update.state import UpdateState, read_update_state, write_update_state

log = logging.getLogger(__name__)


def count_start(installation: Installation, state_file: Path, version: str) -> Path | None:
    """Note that `version` starts; blocks. Gives the program of the version before when this one is put aside."""
    before = read_update_state(state_file)
    state = before.started(version)
    if state.has_failed:
        log.error("the new version did not survive and is put aside", extra={"version": version})
        try:
            rolled = roll_back(installation, state)
        except ReleaseRefused as refused:
            log.error("the version before cannot be taken again", extra={"why": str(refused)})
        else:
            _write(state_file, rolled)
            return installation.base / CURRENT / ENTRY
    if state != before:
        _write(state_file, state)
    return None


def uncount_start(state_file: Path, version: str) -> None:
    """Note that a start of `version` ended in order, which says nothing against it; blocks."""
    before = read_update_state(state_file)
    state = before.stopped(version)
    if state != before:
        _write(state_file, state)


def become(program: Path) -> None:
    """Run a program with the arguments of this process in its place; returns only when that fails."""
    try:
        os.execv(program, [str(program), *sys.argv[1:]])
    except OSError as error:
        log.error("the version before cannot be started", extra={"errno": error.errno})


def _write(state_file: Path, state: UpdateState) -> None:
    try:
        write_update_state(state_file, state)
    except OSError as error:
        log.warning("the update state cannot be written", extra={"errno": error.errno})
