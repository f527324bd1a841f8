"""Load for the floor: the same frames in the same pattern, and a reader of the outputs, in the bench's own process."""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from bench.launch import wait_for_file


def _read_until_closed(sinks: list[socket.socket]) -> None:
    poll = select.epoll()
    by_fd = {sink.fileno(): sink for sink in sinks}
    for fd in by_fd:
        poll.register(fd, select.EPOLLIN)
    while by_fd:
        for fd, _event in poll.poll():
            if not by_fd[fd].recv(1 << 18):
                poll.unregister(fd)
                del by_fd[fd]


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
        sinks = [socket.create_connection(("127.0.0.1", ports["out"])) for _ in range(inputs * outputs)]
        reader = threading.Thread(target=_read_until_closed, args=(sinks,))
        reader.start()
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
        reader.join()
    return float(outcome["cpu_s"]) / float(outcome["frames"]) * 1e6
