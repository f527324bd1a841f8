"""Keys leave the process's memory: every writable page is searched for them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("native.speed", reason="the extension is not built")

ROOT = Path(__file__).parents[3]

# The key is never written down but as its complement, so that the search does not find its own needle: pages are copied
# into one buffer, which is complemented, searched, and cleared.
_PROGRAM = """
import os, random, sys
from native import speed
from tests.unit.native.chunk_frames import PEER, chunk, text

FLIP = bytes(255 - i for i in range(256))

def occurrences(needle):
    found = 0
    memory = os.open("/proc/self/mem", os.O_RDONLY)
    page = bytearray(1 << 20)
    for line in open("/proc/self/maps"):
        span, rights, *_ = line.split()
        if not rights.startswith("rw"):
            continue
        at, end = (int(part, 16) for part in span.split("-"))
        while at < end:
            try:
                count = os.preadv(memory, [memoryview(page)[: min(end - at, len(page))]], at)
            except OSError:
                break
            found += page.translate(FLIP).count(needle)
            page[:] = bytes(len(page))
            at += count
    os.close(memory)
    return found

def attach(pump, name):
    key = bytearray(32)
    for i in range(32):
        key[i] = random.randrange(1, 255)
    pump.attach(name, key, name)
    needle = bytes(key[8:].translate(FLIP))
    for i in range(32):
        key[i] = 0
    return needle

pump = speed.Pump(max_message_bytes=4096)
pump.set_peer_key(PEER)
needles = {name: attach(pump, name) for name in ("detached", "violated", "closed")}
before = {name: occurrences(needle) for name, needle in needles.items()}
assert all(before.values()), before
pump.detach("detached")
assert occurrences(needles["detached"]) == 0, "after detach"
assert pump.feed(text(chunk("violated", b"A" * 80)))[0][0] == 4
assert occurrences(needles["violated"]) == 0, "after a violation"
pump.close()
assert occurrences(needles["closed"]) == 0, "after close"
print("wiped")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/mem")
def test_keys_are_wiped_on_detach_violation_and_close() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=False, timeout=60, cwd=ROOT
    )
    assert done.stdout.strip() == "wiped", done.stderr
