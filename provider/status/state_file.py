"""Writing and reading `daemon-state.json`: replaced in one step, readable by the owner only."""

from pathlib import Path
from typing import Final

import msgspec

from provider.files import replace_file
from provider.status.record import SCHEMA, DaemonState

MAX_FILE_BYTES: Final = 4 * 1024 * 1024

_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(DaemonState)


def write_state(path: Path, state: DaemonState) -> None:
    """Replace the file; blocks. Raises `OSError`. A reader never sees half of it; it need not survive a power cut."""
    replace_file(path, msgspec.json.format(_ENCODER.encode(state), indent=1) + b"\n")


def read_state(path: Path) -> DaemonState | None:
    """Read the file; None when there is none, or none that this version understands."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        state = _DECODER.decode(content)
    except (OSError, ValueError):
        return None
    return state if state.schema == SCHEMA else None
