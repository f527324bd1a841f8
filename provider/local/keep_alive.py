"""`keep_alive` as Ollama's clients write it: seconds, or a Go duration; pure."""

import math
import re
from typing import Final

from protocol.api.errors import invalid_request

_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART: Final = re.compile(r"(\d{1,9}(?:\.\d{0,9})?)(ns|us|µs|ms|s|m|h)", re.ASCII)
_DURATION: Final = re.compile(rf"([+-]?)(0|(?:{_PART.pattern})+)", re.ASCII)
_MAX_CHARACTERS: Final = 64
_LONGEST_SECONDS: Final = 1e9


def read_keep_alive(written: object) -> float | None:
    """Return how many seconds a model is to stay loaded after the answer; None: as long as usual.

    Negative spans mean without end (infinity). Raises `ApiError` for anything that is no span.
    """
    if written is None or written == "":
        return None
    seconds = _seconds(written)
    if seconds is None or math.isnan(seconds):
        raise invalid_request('keep_alive must be seconds, or a span like "10m"; -1 is for ever.', param="keep_alive")
    return math.inf if seconds < 0 else seconds


def _seconds(written: object) -> float | None:
    if isinstance(written, int | float) and not isinstance(written, bool):
        return float(max(-_LONGEST_SECONDS, min(written, _LONGEST_SECONDS)))
    if not isinstance(written, str) or len(written) > _MAX_CHARACTERS:
        return None
    found = _DURATION.fullmatch(written)
    if found is None:
        return None
    total = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(found[2]))
    return -total if found[1] == "-" else total
