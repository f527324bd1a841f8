"""Which models were loaded when the daemon last stopped, so that the next start loads them again."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from provider.files import replace_file

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
    try:
        replace_file(path, msgspec.json.encode(_Note(tuple(models))) + b"\n")
    except OSError as error:
        log.warning("the loaded models could not be noted", extra={"errno": error.errno})


def choose_preload(
    offered: Sequence[str], *, preferred: str | None = None, wanted: Sequence[str], noted: Sequence[str], slots: int
) -> tuple[str, ...]:
    """Choose what to load at the start: what is configured, else what was loaded before, else the largest.

    The preferred model is always among them. `offered` is ordered, the largest first; that order is kept, so that
    models which are loaded together cannot evict each other.
    """
    sources = (wanted, noted, offered)
    chosen = next((found for source in sources if (found := [name for name in offered if name in source])), [])[:slots]
    if preferred is not None and preferred in offered and preferred not in chosen:
        chosen = [*chosen[: slots - 1], preferred]
    return tuple(name for name in offered if name in chosen)
