"""What a file is, by its first bytes alone; the type that a server claims counts for nothing. Pure."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from protocol.api.media import Kind

_QUICKTIME_BRANDS: Final = (b"qt  ",)
_PLAIN_QUICKTIME: Final = (b"moov", b"mdat", b"wide")
_JPEG_SIZES: Final = frozenset({*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)})
"""Start-of-frame markers: all but DHT, JPG and DAC."""
_JPEG_BARE: Final = frozenset({0x01, *range(0xD0, 0xD9)})


class FileType(NamedTuple):
    """A media type, and the kind of part that it may stand in."""

    mime: str
    kind: Kind


def sniff(data: bytes) -> FileType | None:
    """The type of a file; None for one that models do not read."""
    if data.startswith(b"\xff\xd8\xff"):
        return FileType("image/jpeg", "image")
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return FileType("image/png", "image")
    if data.startswith((b"GIF87a", b"GIF89a")):
        return FileType("image/gif", "image")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return FileType("image/webp", "image")
    if data.startswith(b"BM") and len(data) >= 26 and data[6:10] == b"\0\0\0\0":
        return FileType("image/bmp", "image")
    if data[4:8] == b"ftyp":
        brand = data[8:12]
        if brand in (b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1"):
            return None  # pictures in a video's box
        return FileType("video/quicktime" if brand in _QUICKTIME_BRANDS else "video/mp4", "video")
    if data[4:8] in _PLAIN_QUICKTIME:
        return FileType("video/quicktime", "video")
    return None


def pixels(data: bytes) -> int:
    """Width times height as a JPEG, PNG or GIF header says; 0 for other files, and for a header that is cut off."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            width, height = struct.unpack_from(">II", data, 16)
        elif data.startswith((b"GIF87a", b"GIF89a")):
            width, height = struct.unpack_from("<HH", data, 6)
        elif data.startswith(b"\xff\xd8"):
            height, width = _jpeg_size(data)
        else:
            return 0
    except struct.error:
        return 0
    return int(width) * int(height)


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Walk the segments to the first frame; (0, 0) when there is none."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:
            place += 1
            continue
        if marker in _JPEG_BARE:
            place += 2
            continue
        (length,) = struct.unpack_from(">H", data, place + 2)
        if marker in _JPEG_SIZES:
            height, width = struct.unpack_from(">HH", data, place + 5)
            return int(height), int(width)
        place += 2 + max(2, length)
    return 0, 0
