"""The speeds that `darkbloom benchmark --save` keeps, for the registration of this machine."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

FILE_NAME: Final = "benchmark.json"
MAX_FILE_BYTES: Final = 1 << 20


class SavedSpeeds(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens per second of one model, one row alone; `measured_at` is Unix seconds."""

    prefill_tps: float
    decode_tps: float
    measured_at: int = 0


def save_speeds(home: Path, model: str, speeds: SavedSpeeds) -> None:
    """Replace a model's speeds; the file is written beside and moved into place."""
    known = _read(home) | {model: speeds}
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=home, prefix=FILE_NAME)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(known)))
        os.replace(name, home / FILE_NAME)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def saved_speeds(home: Path, models: Iterable[str]) -> SavedSpeeds | None:
    """Return the speeds of the first of these models that has any; an unreadable file counts as empty."""
    known = _read(home)
    return next((known[model] for model in models if model in known), None)


def _read(home: Path) -> dict[str, SavedSpeeds]:
    try:
        with (home / FILE_NAME).open("rb") as file:
            return msgspec.json.decode(file.read(MAX_FILE_BYTES), type=dict[str, SavedSpeeds])
    except (OSError, msgspec.MsgspecError, ValueError):
        return {}
