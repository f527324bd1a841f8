"""Bounds of fetching."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaLimits:
    """Sizes are of raw bytes, before base64; times in seconds, `fetch_seconds` for one URL with all its redirects."""

    file_bytes: int = 8 * _MIB
    total_bytes: int = 10 * _MIB
    parts: int = 8
    fetch_seconds: float = 15.0
    total_seconds: float = 25.0
    concurrency: int = 4
    global_concurrency: int = 32
    waiting: int = 256
    """Requests that may wait for one of the global places."""
    megapixels: int = 100
    redirects: int = 3
