"""The live view of `darkbloom status --watch`, drawn again every second."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from provider.status.liveness import Life
from provider.status.look import Look
from provider.status.record import DaemonState
from provider.status.text import connection_line, daemon_line, idle_line, schedule_line, trust_line
from provider.status.words import gigabytes, percent, plural

INTERVAL_SECONDS: Final = 1.0
HISTORY: Final = 60
_BARS: Final = "▁▂▃▄▅▆▇█"


def watch(take: Callable[[], Look], *, version: str, console: Console, rounds: int | None = None) -> None:
    """Draw until Ctrl-C, or so many rounds; `take` gives a new look."""
    speeds: deque[float] = deque(maxlen=HISTORY)
    with Live(console=console, refresh_per_second=4, screen=console.is_terminal, transient=False) as live:
        while rounds is None or rounds > 0:
            seen = take()
            state = seen.state
            speeds.append(state.stats.tokens_per_second if state is not None and seen.life.is_fresh else 0.0)
            live.update(picture(seen, tuple(speeds), version=version), refresh=True)
            if rounds is not None:
                rounds -= 1
            if rounds != 0:
                time.sleep(INTERVAL_SECONDS)


def picture(seen: Look, speeds: Sequence[float], *, version: str) -> Group:
    """Compose one frame."""
    state = seen.state
    if state is None:
        return Group(Text("No provider has run here yet.  fix: darkbloom start", style="yellow"))
    local = state.local
    style = {Life.RUNNING: "green", Life.OLD: "yellow"}.get(seen.life, "red")
    head = Text.assemble(
        (f"darkbloom {version}  ", "bold"),
        (state.identity.provider_name or "-", "bold"),
        "\n",
        "Daemon      ",
        (daemon_line(state, seen.life, seen.now), style),
        f"\nConnection  {connection_line(state, seen.now)}",
        f"\nTrust       {trust_line(state)}",
        f"\nIdle        {idle_line(state, seen.now)}",
        f"\nSchedule    {schedule_line(state)}",
        "" if local is None else f"\nLocal       {local.base_url}  ({plural(local.requests, 'request')})",
    )
    return Group(
        Panel(head, title="provider", title_align="left"),
        _load(state, speeds),
        _slots(state),
        Text("Ctrl-C ends this view; the provider goes on.", style="dim"),
    )


def spark(values: Sequence[float]) -> str:
    """A row of bars, the highest value full."""
    top = max(values, default=0.0)
    if top <= 0:
        return _BARS[0] * len(values)
    return "".join(_BARS[min(len(_BARS) - 1, round(value / top * (len(_BARS) - 1)))] for value in values)


def halved(values: Sequence[float]) -> list[float]:
    """The higher of every two values, so that a minute fits beside the figures."""
    return [max(values[place : place + 2]) for place in range(0, len(values), 2)]


def _load(state: DaemonState, speeds: Sequence[float]) -> Panel:
    memory, stats, system = state.capacity, state.stats, state.system
    table = Table.grid(padding=(0, 2))
    table.add_row(
        "requests",
        f"{stats.in_flight} in flight",
        f"{stats.requests_served:,} served",
        f"{stats.tokens_generated:,} tokens",
    )
    table.add_row(
        "speed", f"{stats.tokens_per_second:.1f} tok/s", Text(spark(halved(speeds)), style="cyan"), "last minute"
    )
    table.add_row(
        "memory",
        f"{gigabytes(memory.weights_gb + memory.kv_gb)} of {gigabytes(memory.cap_gb)} GB",
        f"weights {gigabytes(memory.weights_gb)}, KV {gigabytes(memory.kv_gb)}, peak {gigabytes(memory.peak_gb)}",
        f"free for load {gigabytes(memory.free_for_load_gb)}",
    )
    table.add_row(
        "machine",
        f"CPU {100 * system.cpu_usage:.0f} %",
        f"memory pressure {100 * system.memory_pressure:.0f} %",
        f"thermal {system.thermal_state}",
    )
    return Panel(table, title="load", title_align="left")


def _slots(state: DaemonState) -> Table:
    table = Table(expand=True, title_justify="left")
    for column in ("model", "state", "running", "waiting", "tok/s each", "token budget"):
        table.add_column(column, justify="left" if column in ("model", "state") else "right")
    loaded = {slot.model for slot in state.slots}
    for slot in state.slots:
        table.add_row(
            slot.model,
            Text(slot.state, style="red" if slot.wedge_suspected or slot.state == "crashed" else ""),
            str(slot.running),
            str(slot.waiting),
            "-" if slot.decode_tps is None else f"{slot.decode_tps:.1f}",
            percent(slot.token_budget_used, slot.token_budget_max),
        )
    for model in state.advertised_models:
        if model not in loaded:
            table.add_row(model, Text("not loaded", style="dim"), "-", "-", "-", "-")
    return table
