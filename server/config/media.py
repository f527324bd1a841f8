"""Settings of remote images and videos that requests name by URL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocol.settings import boolean, duration, integer, setting, size, words

_MIB: Final = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class MediaSettings:
    """Durations in seconds, sizes in bytes."""

    media_fetch: bool = setting(
        "MEDIA_FETCH",
        boolean(),
        default=True,
        group="Remote media",
        meaning="Fetch images and videos that a chat completion names by URL, from public addresses alone.",
    )
    media_fetch_max_file_bytes: int = setting(
        "MEDIA_FETCH_MAX_FILE_BYTES",
        size(1024, 64 * _MIB),
        default=8 * _MIB,
        group="Remote media",
        meaning="Largest remote file.",
    )
    media_fetch_max_total_bytes: int = setting(
        "MEDIA_FETCH_MAX_TOTAL_BYTES",
        size(1024, 64 * _MIB),
        default=10 * _MIB,
        group="Remote media",
        meaning="All remote files of one request together.",
    )
    media_fetch_max_parts: int = setting(
        "MEDIA_FETCH_MAX_PARTS",
        integer(1, 64),
        default=8,
        group="Remote media",
        meaning="Remote files that one request may name.",
    )
    media_fetch_timeout: float = setting(
        "MEDIA_FETCH_TIMEOUT",
        duration(0.1, 600),
        default=15.0,
        group="Remote media",
        meaning="Time for one remote file, redirects included.",
    )
    media_fetch_total_deadline: float = setting(
        "MEDIA_FETCH_TOTAL_DEADLINE",
        duration(0.1, 600),
        default=25.0,
        group="Remote media",
        meaning="Time for all remote files of one request.",
    )
    media_fetch_concurrency: int = setting(
        "MEDIA_FETCH_CONCURRENCY",
        integer(1, 64),
        default=4,
        group="Remote media",
        meaning="Remote files of one request that are fetched at once.",
    )
    media_fetch_global_concurrency: int = setting(
        "MEDIA_FETCH_GLOBAL_CONCURRENCY",
        integer(1, 4096),
        default=32,
        group="Remote media",
        meaning="Remote files that are fetched at once, whoever asked.",
    )
    media_fetch_max_image_megapixels: int = setting(
        "MEDIA_FETCH_MAX_IMAGE_MEGAPIXELS",
        integer(1, 10_000),
        default=100,
        group="Remote media",
        meaning="Largest remote JPEG, PNG or GIF, in millions of pixels.",
    )
    media_blocked_domains: tuple[str, ...] = setting(
        "MEDIA_BLOCKED_DOMAINS",
        words(),
        default=(),
        group="Remote media",
        meaning="Domains that are never asked, with all names below them.",
    )
