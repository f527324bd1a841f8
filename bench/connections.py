"""What idle providers cost: memory per session, and the share of a core of 2,000 of them with heartbeats every 5 s.

`kib_per_provider` is the growth of the coordinator's resident memory divided by the number of sessions (kernel socket
buffers not included); `cpu_share_2000` is CPU seconds per second of a quiet window after all have registered.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from bench.launch import coordinator, running, wait_for_file
from bench.process import cpu_seconds, resident_bytes

WARM_UP_PROVIDERS = 50
SETTINGS = {"DARKBLOOM_LOG_LEVEL": "warn", "DARKBLOOM_CHALLENGE_INTERVAL": "5m"}


def run(*, quick: bool = False) -> dict[str, Any]:
    """Connect the providers, wait until the coordinator is quiet, measure."""
    count, window = (200, 5.0) if quick else (2000, 30.0)
    with tempfile.TemporaryDirectory(prefix="darkbloom-bench-") as folder:
        work = Path(folder)
        with coordinator(work, SETTINGS) as (process, port):
            with _providers(work, port, WARM_UP_PROVIDERS, "warm-up"):
                time.sleep(1)
            time.sleep(1)
            before = resident_bytes(process.pid)
            with _providers(work, port, count, "fleet"):
                time.sleep(6)
                grown = resident_bytes(process.pid) - before
                used, started = cpu_seconds(process.pid), time.monotonic()
                time.sleep(window)
                share = (cpu_seconds(process.pid) - used) / (time.monotonic() - started)
    return {
        "providers": count,
        "kib_per_provider": grown / 1024 / count,
        "cpu_share_2000": share * 2000 / count,
    }


def _providers(work: Path, port: int, count: int, name: str) -> Any:
    return _Fleet(work, port, count, name)


class _Fleet:
    """Simulated providers in a process of their own, for the length of a block."""

    def __init__(self, work: Path, port: int, count: int, name: str) -> None:
        self._ready = work / f"{name}.ready"
        url = f"ws://127.0.0.1:{port}/ws/provider"
        command = ["-m", "tests.testbed.simulate", "--url", url, "--ready-file", str(self._ready)]
        self._running = running([*command, "--count", str(count)], work=work, settings={})
        self._count = count

    def __enter__(self) -> None:
        process = self._running.__enter__()
        wait_for_file(self._ready, process, 30 + self._count / 20)

    def __exit__(self, *details: Any) -> None:
        self._running.__exit__(*details)


def table(result: dict[str, Any]) -> str:
    """Render the figures with their targets."""
    memory, share = result["kib_per_provider"], result["cpu_share_2000"] * 100
    return "\n".join(
        [
            "| | measured | target |",
            "|---|---|---|",
            f"| memory per idle provider ({result['providers']} connected) | {memory:.1f} KiB | ≤ 60 |",
            f"| CPU of 2,000 idle providers | {share:.1f} % of a core | ≤ 8 % |",
        ]
    )
