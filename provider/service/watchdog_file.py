"""The watchdog's notes on the disk."""

import os
from pathlib import Path

import msgspec

from provider.service.watchdog import WatchdogNotes


def read_notes(path: Path) -> WatchdogNotes:
    """Read the notes; none when they cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes()[:4096], type=WatchdogNotes)
    except (OSError, ValueError):
        return WatchdogNotes()


def write_notes(path: Path, notes: WatchdogNotes) -> None:
    """Replace the file; blocks. Raises `OSError`."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    fresh.write_bytes(msgspec.json.encode(notes) + b"\n")
    fresh.replace(path)
