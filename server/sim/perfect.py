"""How much the best imaginable policy could have served: a bound that no policy can pass.

The bound is generous on purpose, so that a share of it is an honest figure. It knows every answer's length beforehand,
joins all machines into one that every request may use at any speed, may begin a request before it arrives, never waits
for a report, loses nothing to loads or failures, and asks two questions only:

* Could this request be good at all? On the best machine, idle, with the model in memory.
* Is there enough machine time before it is too late? Every request needs at least its prefill and its share of a
  decoding batch at the machine's most productive size that still keeps the goal's speed, charged where that is
  cheapest. A good answer must have begun in the goal's time and keep the goal's speed, so it has a latest end. The
  largest number of requests that end in time is found by Moore's algorithm: in order of their latest ends, and whenever
  the time does not suffice, the largest one so far is left out.

Machines that are away, or neither answer nor accept, give no time meanwhile.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from msgspec import Struct, structs

from server.sim.engine import BESIDE_PREFILL, PREFILL_OVERHEAD

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from server.sim.catalog import SimModel
    from server.sim.fleet import MachineSpec
    from server.sim.tally import Goal
    from server.sim.trace import Arrival


class Absence(Struct, frozen=True):
    """A machine that is away or unsound from `start` to `end` (seconds of the run)."""

    machine: str
    start: float
    end: float


class Bound(Struct, frozen=True):
    """`feasible` requests could be good by themselves, `good` of them together at most.

    `offered_load` is the machine time that the feasible ones need as a share of what there is until the last arrival.
    """

    requests: int
    feasible: int
    good: int
    offered_load: float


def best_batch(machine: MachineSpec, floor_tps: float, model: SimModel) -> int:
    """The largest batch, within the machine's limit, in which every stream keeps the floor; at least 1."""
    best = 1
    for count in range(2, machine.concurrency + 1):
        if stream_tps(machine, count, model) < floor_tps:
            break
        best = count
    return best


def stream_tps(machine: MachineSpec, count: int, model: SimModel) -> float:
    """True speed of each of `count` streams."""
    return machine.decode * machine.honesty * model.speed / (1 + machine.batch_slowdown * (count - 1))


def machine_seconds(machine: MachineSpec, model: SimModel, *, prompt: int, out: int, floor_tps: float) -> float:
    """Least time of this machine that one request takes: its prefill, less what may decode meanwhile, and its batch."""
    prefill = PREFILL_OVERHEAD + prompt / (machine.prefill * machine.honesty * model.speed)
    count = best_batch(machine, floor_tps, model)
    return (1 - BESIDE_PREFILL) * prefill + out / (count * stream_tps(machine, count, model))


def perfect(
    arrivals: Sequence[Arrival],
    machines: Sequence[MachineSpec],
    models: Mapping[str, SimModel],
    goal: Goal,
    *,
    absences: Sequence[Absence] = (),
) -> Bound:
    """Bound the good answers of a trace."""
    trace_seconds = max((arrival.t_ms for arrival in arrivals), default=0.0) / 1000
    time = _MachineTime(machines, absences)
    present = _kinds(machines, absences, trace_seconds)
    wanted = sorted(_wanted(arrivals, present, models, goal))
    kept: list[float] = []
    total = 0.0
    for latest, work in wanted:
        total += work
        heappush(kept, -work)
        if total > time.until(latest):
            total += heappop(kept)
    needed = sum(work for _, work in wanted)
    possible = time.until(trace_seconds)
    return Bound(
        requests=len(arrivals),
        feasible=len(wanted),
        good=len(kept),
        offered_load=needed / possible if possible > 0 else float("inf"),
    )


def requests_per_second(
    arrivals: Sequence[Arrival], machines: Sequence[MachineSpec], models: Mapping[str, SimModel], goal: Goal
) -> float:
    """Requests of this mix that the machines could finish each second, all of them busy all the time."""
    works = [work for _, work in _wanted(arrivals, _kinds(machines, (), 1.0), models, goal)]
    return len(works) * _MachineTime(machines, ()).until(1.0) / sum(works) if works else 0.0


def _wanted(
    arrivals: Iterable[Arrival], kinds: Iterable[MachineSpec], models: Mapping[str, SimModel], goal: Goal
) -> Iterator[tuple[float, float]]:
    """Yield latest end (seconds) and least work of every request that could be good."""
    kinds = tuple(kinds)
    for arrival in arrivals:
        model = models.get(arrival.model)
        if model is None:
            continue
        prompt, out = _uncached(arrival), arrival.answer_tokens
        costs = [
            _speed(kind) * machine_seconds(kind, model, prompt=prompt, out=out, floor_tps=goal.decode_tps)
            for kind in kinds
            if arrival.model in kind.models and _can_be_good(arrival, kind, model, goal)
        ]
        if costs:
            yield (arrival.t_ms + goal.ttft_ms(arrival.prompt)) / 1000 + out / goal.decode_tps, min(costs)


class _MachineTime:
    """Time of all machines together, in seconds of a machine of unit speed."""

    def __init__(self, machines: Iterable[MachineSpec], absences: Iterable[Absence]) -> None:
        speeds = {machine.id: _speed(machine) for machine in machines}
        self._speed = sum(speeds.values())
        self._lost = [(one.start, one.end, speeds[one.machine]) for one in absences]

    def until(self, moment: float) -> float:
        """What there is from the beginning to this moment."""
        lost = sum(speed * (min(moment, end) - min(moment, start)) for start, end, speed in self._lost)
        return self._speed * moment - lost


def _speed(machine: MachineSpec) -> float:
    return machine.decode * machine.honesty


def _uncached(arrival: Arrival) -> int:
    return max(0, arrival.prompt - arrival.prefix_tokens) if arrival.prefix is not None else arrival.prompt


def _can_be_good(arrival: Arrival, machine: MachineSpec, model: SimModel, goal: Goal) -> bool:
    prefill = PREFILL_OVERHEAD + _uncached(arrival) / (machine.prefill * machine.honesty * model.speed)
    return 1000 * prefill <= goal.ttft_ms(arrival.prompt) and (
        arrival.answer_tokens < 8 or stream_tps(machine, 1, model) >= goal.decode_tps
    )


def _kinds(machines: Iterable[MachineSpec], absences: Iterable[Absence], seconds: float) -> set[MachineSpec]:
    """The different kinds among the machines that are there at all; ids and tiny differences aside."""
    never = {one.machine for one in absences if one.start <= 0 and one.end >= seconds}
    return {_nameless(machine) for machine in machines if machine.id not in never}


def _nameless(machine: MachineSpec) -> MachineSpec:
    return structs.replace(
        machine, id="any", decode=float(round(machine.decode)), prefill=round(machine.prefill, -1), warm=()
    )
