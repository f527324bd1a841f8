"""The watchdog's notes on the disk."""

from pathlib import Path

import msgspec

from provider.files import replace_file
from provider.service.watchdog import WatchdogNotes


def read_notes(path: Path) -> WatchdogNotes:
    """Read the notes; none when they cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes()[:4096], type=WatchdogNotes)
    except (OSError, ValueError):
        return WatchdogNotes()


def write_notes(path: Path, notes: WatchdogNotes) -> None:
    """Replace the file; blocks. Raises `OSError`."""
    replace_file(path, msgspec.json.encode(notes) + b"\n")
