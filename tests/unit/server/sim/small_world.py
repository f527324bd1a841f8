"""Small setups for tests of whole runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from server.sim.catalog import SimModel
from server.sim.clients import OBEDIENT, Manners
from server.sim.faults import MachineEvent
from server.sim.fleet import MachineSpec, equal_fleet
from server.sim.simulation import Setup
from server.sim.trace import Arrival

MODEL = SimModel(id="m")


def arrivals(
    count: int, *, every_ms: float = 100.0, prompt: int = 100, out: int = 50, **fields: object
) -> list[Arrival]:
    """Equal requests at equal distances, of ten accounts."""
    return [
        Arrival(t_ms=number * every_ms, model="m", prompt=prompt, out=out, account=f"a{number % 10}", **fields)  # type: ignore[arg-type]
        for number in range(count)
    ]


def setup(
    asked: Sequence[Arrival],
    machines: Sequence[MachineSpec] | int = 3,
    *,
    events: Sequence[MachineEvent] = (),
    manners: Manners | Callable[[int], Manners] = OBEDIENT,
    seed: int = 1,
    **fields: object,
) -> Setup:
    """A run of one model on a few equal machines."""
    return Setup(
        name="small",
        seed=seed,
        arrivals=asked,
        machines=equal_fleet(machines, models=("m",)) if isinstance(machines, int) else machines,
        models=(MODEL,),
        events=events,
        manners=manners if callable(manners) else lambda _job: manners,
        **fields,  # type: ignore[arg-type]
    )
