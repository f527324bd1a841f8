"""The heap in huge pages: a request touches far more pages of 4 KiB than the processor remembers the places of.

Where each missed page is looked up in two tables, as in a virtual machine, that takes 3 to 6 % of a request's processor
time. The kernel (Linux 6.1) moves what lies in a block of 2 MiB into one page when it is asked to; elsewhere, and where
the administrator has switched huge pages off, it is not asked. Blocks that are not nearly full are left alone, thread
stacks among them: a huge page takes its 2 MiB whatever lies in it.
"""

from __future__ import annotations

import ctypes
import logging
import mmap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import trio

_log = logging.getLogger("darkbloom.process")

BLOCK_BYTES: Final = 2 * 1024 * 1024
FIRST_SECONDS: Final = 5.0
EVERY_SECONDS: Final = 300.0
# A fault of another thread waits while a block is copied, usually one or two milliseconds; then it gets its turn.
_PAUSE_SECONDS: Final = 0.005
_FULL: Final = 0.9
_MADV_COLLAPSE: Final = 25
_MAPS: Final = Path("/proc/self/maps")
_POLICY: Final = Path("/sys/kernel/mm/transparent_hugepage/enabled")


async def gather_heap_now_and_then() -> None:
    """Gather what lives when the process is warm, and every five minutes what came since, until cancelled."""
    await trio.sleep(FIRST_SECONDS)
    while True:
        await trio.to_thread.run_sync(gather_heap, abandon_on_cancel=True)
        await trio.sleep(EVERY_SECONDS)


def gather_heap() -> int:
    """Move all nearly full blocks of the heap to huge pages; returns how many are there now, 0 where it cannot be."""
    maps = _maps_if_allowed()
    if not maps:
        return 0
    libc = ctypes.CDLL(None)
    gathered = 0
    started = time.perf_counter()
    for block in _blocks(maps):
        if not _is_nearly_full(libc, block):
            continue
        if libc.madvise(ctypes.c_void_p(block), ctypes.c_size_t(BLOCK_BYTES), _MADV_COLLAPSE) == 0:
            gathered += 1
        time.sleep(_PAUSE_SECONDS)
    _log.debug("the heap is gathered", extra={"blocks": gathered, "seconds": round(time.perf_counter() - started, 3)})
    return gathered


def _maps_if_allowed() -> str:
    """Give the map of this process; empty where there is none, or no huge page is wanted.

    The kernel itself does as it is asked whatever the administrator's setting is.
    """
    try:
        return "" if "[never]" in _POLICY.read_text() else _MAPS.read_text(errors="replace")
    except OSError:
        return ""


def _blocks(maps: str) -> Iterator[int]:
    """Give the address of every whole block within private memory that belongs to no file."""
    for line in maps.split("\n"):
        if not line:
            continue
        place, rights, _offset, _device, _inode, *name = line.split()
        if rights == "rw-p" and name in ([], ["[heap]"]):
            start, end = (int(address, 16) for address in place.split("-"))
            first = -(-start // BLOCK_BYTES) * BLOCK_BYTES
            yield from range(first, end - BLOCK_BYTES + 1, BLOCK_BYTES)


def _is_nearly_full(libc: ctypes.CDLL, block: int) -> bool:
    pages = BLOCK_BYTES // mmap.PAGESIZE
    resident = (ctypes.c_ubyte * pages)()
    if libc.mincore(ctypes.c_void_p(block), ctypes.c_size_t(BLOCK_BYTES), resident) != 0:
        return False
    return bytes(resident).count(1) >= _FULL * pages
