"""Load for the floor: the same frames in the same pattern, and a reader process for its outputs."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

from bench.launch import wait_for_file


def floor_cpu_us(
    work: Path,
    *,
    inputs: int,
    streams: int,
    ticks: int,
    tick_seconds: float,
    frame_bytes: int,
    one_write_per_step: bool,
) -> float:
    """Drive the floor relay with a paced pattern; return its CPU in microseconds per frame."""
    ready = work / f"floor-{int(one_write_per_step)}.ready"
    ready.unlink(missing_ok=True)
    outputs = max(1, streams // inputs)
    command = [sys.executable, "-m", "bench.floor", "--ready-file", str(ready), "--inputs", str(inputs)]
    command += ["--outputs-per-input", str(outputs), "--frame-bytes", str(frame_bytes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        ports = wait_for_file(ready, process)
        sources = [socket.create_connection(("127.0.0.1", ports["in"])) for _ in range(inputs)]
        sink = [sys.executable, "-m", "bench.sink", "--port", str(ports["out"]), "--count", str(inputs * outputs)]
        reader = subprocess.Popen(sink, stdout=subprocess.PIPE, text=True)
        assert reader.stdout is not None
        reader.stdout.readline()
        for source in sources:
            source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        one = b"x" * frame_bytes
        writes = [(source, one * outputs) for source in sources]
        if not one_write_per_step:
            writes = [(source, one) for source in sources for _ in range(outputs)]
        start = time.monotonic() + 0.1
        for tick in range(ticks):
            for turn, (source, data) in enumerate(writes):
                due = start + tick * tick_seconds + turn * tick_seconds / len(writes)
                if (wait := due - time.monotonic()) > 0:
                    time.sleep(wait)
                source.sendall(data)
        for source in sources:
            source.close()
        assert process.stdout is not None
        outcome = json.loads(process.stdout.read())
        reader.wait(30)
    return float(outcome["cpu_s"]) / float(outcome["frames"]) * 1e6
