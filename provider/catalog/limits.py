"""The measures of a download; tests use small ones."""

from dataclasses import dataclass, replace

from provider.memory.policy import GIB, MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadLimits:
    """Sizes in bytes, times in seconds. A file larger than `split_above` is fetched in ranges of `piece_bytes`."""

    files_at_once: int = 4
    pieces_at_once: int = 4
    split_above: int = 256 * MIB
    piece_bytes: int = 64 * MIB
    write_bytes: int = 256 * 1024
    note_bytes: int = MIB
    keep_free: int = GIB
    retry_seconds: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 16.0)
    longest_retry_after: float = 60.0
    stall_seconds: float = 30.0

    def quietly(self) -> "DownloadLimits":
        """Give the measures of a download in the background: one file, one range at a time."""
        return replace(self, files_at_once=1, pieces_at_once=1)
