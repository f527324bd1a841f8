"""A fleet: the machines of a run, read from NDJSON or drawn from a table of chips."""

from __future__ import annotations

from itertools import pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta, Struct, structs

from server.sim.errors import SimulationError
from server.sim.ndjson import parse, read_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path
    from random import Random

MAX_MACHINES: Final = 20_000
MAX_LINES: Final = 2_000_000

Name = Annotated[str, Meta(min_length=1, max_length=128)]
Rate = Annotated[float, Meta(gt=0, le=100_000)]
Share = Annotated[float, Meta(gt=0, le=100)]


class MachineSpec(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One machine: `chip` is family and tier, memory in GiB, bandwidth in GB/s, rates in tokens/s of one stream.

    `decode` and `prefill` are what its benchmark said; `honesty` is its true speed divided by that, and a machine that
    is not `candid` reports what it measures as if the benchmark were true. `batch_slowdown` is how much one more stream
    slows each of them, in truth; without `contention` nothing slows anything: each request runs as if it were alone.
    Every request waits `delay` seconds before its prompt is begun. A model that was idle for `idle_timeout` seconds is
    unloaded; 0: never.
    """

    id: Name
    chip: Name = "M3|Max"
    mem: Annotated[float, Meta(gt=0, le=4_096)] = 64.0
    bw: Annotated[float, Meta(ge=0, le=10_000)] = 400.0
    decode: Rate = 60.0
    prefill: Rate = 720.0
    models: tuple[Name, ...] = ()
    warm: tuple[Name, ...] = ()
    trust: str = "hardware"
    version: Annotated[str, Meta(max_length=64)] = "0.6.31"
    honesty: Share = 1.0
    candid: bool = True
    batch_slowdown: Annotated[float, Meta(ge=0, le=10)] = 0.3
    contention: bool = True
    delay: Annotated[float, Meta(ge=0, le=600)] = 0.0
    concurrency: Annotated[int, Meta(ge=1, le=24)] = 8
    idle_timeout: Annotated[float, Meta(ge=0)] = 3_600.0

    @property
    def chip_family(self) -> str:
        """The part of `chip` before the bar."""
        return self.chip.partition("|")[0]

    @property
    def chip_tier(self) -> str:
        """The part of `chip` after the bar."""
        return self.chip.partition("|")[2] or "Base"


class _Slot(Struct, frozen=True):
    model: Name
    state: str = "idle"


class _Line(MachineSpec, frozen=True, kw_only=True):
    """One line of an export: a machine, or one slot of it, at one moment (`t_ms`)."""

    t_ms: Annotated[float, Meta(ge=0)] = 0.0
    slots: tuple[_Slot, ...] = ()


def read_fleet(path: Path, *, at_ms: float | None = None) -> list[MachineSpec]:
    """Read the machines of the tick nearest to `at_ms` (the earlier one of two as near; the latest when not given).

    Ticks may be interleaved, and a machine may have several lines of one tick. Raises `SimulationError` for bad lines.
    """
    lines = parse(read_lines(path), _Line, what="fleet", limit=MAX_LINES)
    if not lines:
        raise SimulationError("The fleet file names no machine; give one line per machine.")
    ticks = sorted({line.t_ms for line in lines})
    tick = ticks[-1] if at_ms is None else min(ticks, key=lambda one: (abs(one - at_ms), one))
    return checked_fleet(_merged([line for line in lines if line.t_ms == tick]))


def _merged(lines: Iterable[_Line]) -> list[MachineSpec]:
    """Join the lines of each machine: the first one describes it, every one adds models and slots."""
    first: dict[str, _Line] = {}
    models: dict[str, dict[str, None]] = {}
    warm: dict[str, dict[str, None]] = {}
    for line in lines:
        first.setdefault(line.id, line)
        offered, resident = models.setdefault(line.id, {}), warm.setdefault(line.id, {})
        for name in (*line.models, *line.warm, *(slot.model for slot in line.slots)):
            offered.setdefault(name)
        for name in (*line.warm, *(slot.model for slot in line.slots if slot.state in ("idle", "running"))):
            resident.setdefault(name)
    fields = structs.fields(MachineSpec)
    return [
        structs.replace(
            MachineSpec(**{field.name: getattr(line, field.name) for field in fields}),
            models=tuple(models[name]),
            warm=tuple(warm[name]),
        )
        for name, line in first.items()
    ]


def checked_fleet(machines: Sequence[MachineSpec]) -> list[MachineSpec]:
    """Return the machines in order of their ids; raises `SimulationError` for none, too many, or an id used twice."""
    if not 1 <= len(machines) <= MAX_MACHINES:
        raise SimulationError(f"The fleet has {len(machines)} machines; give 1 to {MAX_MACHINES}.")
    ordered = sorted(machines, key=attrgetter("id"))
    for one, other in pairwise(ordered):
        if one.id == other.id:
            raise SimulationError(f"The machine {one.id!r} is in the fleet twice; ids must be unique.")
    return ordered


def write_fleet(path: Path, machines: Iterable[MachineSpec]) -> None:
    """Write a fleet that `read_fleet` reads back."""
    encoder = msgspec.json.Encoder()
    with path.open("wb") as file:
        for machine in machines:
            file.write(encoder.encode(machine) + b"\n")


CHIPS: Final = (
    # chip, memory, bandwidth, decode, prefill, share of the fleet
    ("M1|Pro", 32.0, 200.0, 30.0, 300.0, 0.10),
    ("M2|Pro", 32.0, 200.0, 33.0, 360.0, 0.10),
    ("M2|Max", 64.0, 400.0, 58.0, 680.0, 0.15),
    ("M3|Pro", 36.0, 150.0, 28.0, 340.0, 0.10),
    ("M3|Max", 64.0, 400.0, 62.0, 800.0, 0.20),
    ("M4|Pro", 48.0, 273.0, 45.0, 560.0, 0.15),
    ("M4|Max", 128.0, 546.0, 90.0, 1_080.0, 0.15),
    ("M2|Ultra", 192.0, 800.0, 105.0, 1_400.0, 0.05),
)
"""Machines as people own them; rates are those of an 8-billion-parameter model in 4 bits."""


def mixed_fleet(
    count: int, random: Random, *, models: Sequence[str], warm: Sequence[str] | None = None, spread: float = 0.05
) -> list[MachineSpec]:
    """Draw machines from the table of chips; `spread` is how much two machines of a kind differ in speed."""
    machines = []
    for number in range(count):
        chip, memory, bandwidth, decode, prefill, _ = random.choices(CHIPS, [row[-1] for row in CHIPS])[0]
        factor = random.uniform(1 - spread, 1 + spread)
        machines.append(
            MachineSpec(
                id=f"p{number:05d}",
                chip=chip,
                mem=memory,
                bw=bandwidth,
                decode=round(decode * factor, 2),
                prefill=round(prefill * factor, 1),
                models=tuple(models),
                warm=tuple(models if warm is None else warm),
            )
        )
    return checked_fleet(machines)


def equal_fleet(count: int, *, models: Sequence[str], concurrency: int = 8, **fields: object) -> list[MachineSpec]:
    """Machines that are all the same."""
    base = MachineSpec(id="p", models=tuple(models), warm=tuple(models), concurrency=concurrency)
    return checked_fleet([structs.replace(base, id=f"p{number:05d}", **fields) for number in range(count)])
