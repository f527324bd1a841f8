"""The heap in huge pages: what is moved, what is left alone, and that nothing changes by it."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import re
import sys
from pathlib import Path

import pytest
import trio

from bench.process import resident_bytes
from server.observe import huge_pages
from server.observe.huge_pages import BLOCK_BYTES, gather_heap, gather_heap_now_and_then

MAPS = """\
555500000000-555500900000 rw-p 00000000 00:00 0                          [heap]
7f0000100000-7f0000500000 rw-p 00000000 00:00 0 \n\
7f0001000000-7f0001600000 r-xp 00000000 fe:00 4242                       /usr/lib/python 3/libpython.so
7f0002000000-7f0002400000 rw-p 00000000 fe:00 4242                       /usr/lib/python 3/libpython.so
7f0003000000-7f0003400000 rw-s 00000000 00:01 77                         /dev/zero (deleted)
7f0004000000-7f0004400000 ---p 00000000 00:00 0 \n\
7ffe00000000-7ffe00400000 rw-p 00000000 00:00 0                          [stack]
"""


def test_only_whole_blocks_of_private_nameless_memory_and_the_heap_are_looked_at() -> None:
    found = list(huge_pages._blocks(MAPS))
    heap = 0x555500000000
    assert found == [heap, heap + BLOCK_BYTES, heap + 2 * BLOCK_BYTES, heap + 3 * BLOCK_BYTES, 0x7F0000200000]


def _can_move() -> bool:
    """Whether this system has what is asked for, whatever our code makes of it."""
    version = re.match(r"(\d+)\.(\d+)", platform.release())
    if sys.platform != "linux" or version is None or (int(version[1]), int(version[2])) < (6, 1):
        return False
    policy = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return policy.exists() and "[never]" not in policy.read_text()


@pytest.mark.skipif(not _can_move(), reason="needs Linux 6.1 with huge pages that are not switched off")
def test_full_blocks_are_moved_and_nearly_empty_ones_are_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pattern, blocks = bytes(range(256)) * (BLOCK_BYTES // 256), 8
    with mmap.mmap(-1, (2 * blocks + 1) * BLOCK_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        where = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        first = -(-where // BLOCK_BYTES) * BLOCK_BYTES
        for start in range(first - where, first - where + blocks * BLOCK_BYTES, BLOCK_BYTES):
            memory[start : start + BLOCK_BYTES] = pattern
            memory[start + blocks * BLOCK_BYTES] = 1  # one page of a block in the second half
        given = tmp_path / "maps"
        given.write_text(f"{first:x}-{first + 2 * blocks * BLOCK_BYTES:x} rw-p 00000000 00:00 0 \n")
        monkeypatch.setattr(huge_pages, "_MAPS", given)
        before = resident_bytes(os.getpid())
        moved = gather_heap()
        assert moved == blocks
        assert resident_bytes(os.getpid()) - before < BLOCK_BYTES * blocks // 2, "the nearly empty half stays so"
        for start in range(first - where, first - where + blocks * BLOCK_BYTES, BLOCK_BYTES):
            assert memory[start : start + BLOCK_BYTES] == pattern


@pytest.mark.parametrize("policy", ["always madvise [never]", None])
def test_nothing_is_moved_where_huge_pages_are_off_or_unknown(
    policy: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if policy is not None:
        (tmp_path / "enabled").write_text(policy)
    monkeypatch.setattr(huge_pages, "_POLICY", tmp_path / "enabled")
    monkeypatch.setattr(huge_pages, "_blocks", lambda _maps: pytest.fail("the heap was looked at"))
    assert gather_heap() == 0


async def test_it_waits_for_a_warm_process_and_comes_again(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    times: list[float] = []

    def gather() -> int:
        times.append(trio.from_thread.run_sync(trio.current_time))
        if len(times) == 2:
            trio.from_thread.run_sync(scope.cancel)
        return 0

    monkeypatch.setattr(huge_pages, "gather_heap", gather)
    with trio.CancelScope() as scope:
        await gather_heap_now_and_then()
    assert times == [huge_pages.FIRST_SECONDS, huge_pages.FIRST_SECONDS + huge_pages.EVERY_SECONDS]
