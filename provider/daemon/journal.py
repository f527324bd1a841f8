"""Which models were loaded when the daemon last stopped, so that the next start loads them again."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

log = logging.getLogger(__name__)

MAX_FILE_BYTES: Final = 64 * 1024


class _Note(msgspec.Struct, frozen=True):
    models: tuple[str, ...] = ()


def read_loaded(path: Path) -> tuple[str, ...]:
    """Give the noted models; none when there is no note that can be read."""
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(MAX_FILE_BYTES), type=_Note).models
    except (OSError, ValueError):
        return ()


def note_loaded(path: Path, models: Sequence[str]) -> None:
    """Note the models; a note that cannot be written is only logged. Blocks."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        fresh.write_bytes(msgspec.json.encode(_Note(tuple(models))) + b"\n")
        fresh.replace(path)
    except OSError as error:
        log.warning("the loaded models could not be noted", extra={"errno": error.errno})


def choose_preload(
    offered: Sequence[str], *, wanted: Sequence[str], noted: Sequence[str], slots: int
) -> tuple[str, ...]:
    """Choose what to load at the start: what is configured, else what was loaded before, else the largest.

    `offered` is ordered, the largest first; that order is kept, so that models which are loaded together cannot evict
    each other.
    """
    for source in (wanted, noted):
        chosen = [model for model in offered if model in source]
        if chosen:
            return tuple(chosen[:slots])
    return tuple(offered[:slots])
