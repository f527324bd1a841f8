"""The heap in huge pages: what is moved, what is left alone, and that nothing changes by it."""

from __future__ import annotations

import mmap
import re
import sys
from pathlib import Path

import pytest
import trio

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


def test_a_full_block_is_moved_and_an_empty_one_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("huge pages are asked for on Linux alone")
    with mmap.mmap(-1, 16 * BLOCK_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        half = 8 * BLOCK_BYTES
        content = bytes(range(256)) * (half // 256)
        memory[:half] = content
        own = [line for line in Path("/proc/self/maps").read_text().splitlines() if _size(line) >= 16 * BLOCK_BYTES]
        monkeypatch.setattr(huge_pages, "_MAPS", tmp_path / "maps")
        (tmp_path / "maps").write_text("\n".join(line for line in own if len(line.split()) == 5))
        before = _resident()
        moved = gather_heap()
        if not moved:
            pytest.skip("this kernel moves nothing")
        assert moved >= 7
        assert memory[:half] == content
        assert _resident() - before < 4 * BLOCK_BYTES, "the empty half stays empty"


async def test_it_waits_for_a_warm_process_and_comes_again(
    monkeypatch: pytest.MonkeyPatch, mock_clock: trio.testing.MockClock
) -> None:
    times: list[float] = []
    done = trio.Event()

    def gather() -> int:
        times.append(0)
        trio.from_thread.run_sync(done.set)
        return 0

    monkeypatch.setattr(huge_pages, "gather_heap", gather)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gather_heap_now_and_then)
        await trio.testing.wait_all_tasks_blocked()
        assert times == []
        for seconds in (huge_pages.FIRST_SECONDS, huge_pages.EVERY_SECONDS):
            mock_clock.jump(seconds)
            await done.wait()
            done = trio.Event()
            await trio.testing.wait_all_tasks_blocked(0.01)
        nursery.cancel_scope.cancel()
    assert len(times) == 2


def _size(line: str) -> int:
    start, end = (int(part, 16) for part in line.split()[0].split("-"))
    return end - start


def _resident() -> int:
    found = re.search(r"^Rss:\s+(\d+) kB", Path("/proc/self/smaps_rollup").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024
