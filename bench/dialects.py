"""What the other dialects cost on top of the plain relay: coordinator CPU per chunk of the same streams, asked in each.

4 provider sockets × 16 streams, burst; rounds of all dialects one after the other, so that a machine that slows down
slows all of them. A figure is the median over the rounds; what a dialect adds is its median less that of chat.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

from bench.consumers import DIALECTS
from bench.launch import coordinator
from bench.relay import SETTINGS, Shape, relay

ROUNDS = 5
BUDGET_US = 15.0


def run(*, quick: bool = False) -> dict[str, Any]:
    """Measure all dialects; CPU in microseconds per chunk."""
    shape = Shape(4, 64, 200 if quick else 2000)
    found: dict[str, list[float]] = {name: [] for name in DIALECTS}
    with tempfile.TemporaryDirectory(prefix="darkbloom-bench-") as folder:
        work = Path(folder)
        for _ in range(1 if quick else ROUNDS):
            for name, figures in found.items():
                outcome = relay(work, coordinator(work, SETTINGS), pattern="burst", shape=shape, dialect=name)
                figures.append(outcome["cpu_us_per_chunk"])
    medians = {name: statistics.median(figures) for name, figures in found.items()}
    result: dict[str, Any] = {f"{name}_cpu_us_per_chunk": median for name, median in medians.items()}
    return result | {f"{name}_added_us": median - medians["chat"] for name, median in medians.items() if name != "chat"}


def table(result: dict[str, Any]) -> str:
    """Render the figures with their target."""
    lines = ["| dialect | CPU µs per chunk | on top of chat | target |", "|---|---|---|---|"]
    for name in DIALECTS:
        added = result.get(f"{name}_added_us")
        shown = "" if added is None else f"{added:.2f}"
        target = "" if added is None else f"≤ {BUDGET_US:.0f} µs"
        lines.append(f"| {name} | {result[f'{name}_cpu_us_per_chunk']:.2f} | {shown} | {target} |")
    return "\n".join(lines)
