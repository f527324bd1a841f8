"""Named scenarios: a fleet, a load and what goes wrong, all drawn from a seed; sizes that run in seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from msgspec import Struct, structs

from server.sim.catalog import SimModel
from server.sim.clients import FICKLE, OBEDIENT, STUBBORN, Manners
from server.sim.errors import SimulationError
from server.sim.faults import MachineEvent
from server.sim.fleet import MachineSpec, equal_fleet, mixed_fleet
from server.sim.load import Burst, Lengths, Load, draw_manners, generate
from server.sim.mornings import MONDAYS, morning_setup
from server.sim.perfect import requests_per_second
from server.sim.policies import with_settings
from server.sim.seeds import stream
from server.sim.simulation import Policy, Setup
from server.sim.tally import Goal
from server.sim.trace import Arrival

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MODEL: Final = SimModel(id="m")
SAMPLE_SECONDS: Final = 400.0
"""Length of the trace from which the mean work of a load's requests is taken."""


class Scenario(Struct, frozen=True, kw_only=True):
    """A setup and the policy under which it is run unless another one is given."""

    setup: Setup
    policy: Policy


def steady(seed: int) -> Scenario:
    """Mixed machines at 60 % of what they could serve."""
    return _ordinary("steady", seed, load=0.6, seconds=200.0)


def burst(seed: int) -> Scenario:
    """Half load, and five times that for 30 seconds."""
    return _ordinary("burst", seed, load=0.5, seconds=150.0, bursts=(Burst(60.0, 30.0, 5.0),))


def herd(seed: int) -> Scenario:
    """A thousand equal requests within a second on a hundred equal idle machines."""
    arrivals = [
        Arrival(t_ms=float(number), model="m", prompt=200, max_tokens=256, out=120, account=f"a{number % 50}")
        for number in range(1_000)
    ]
    machines = equal_fleet(100, models=("m",), concurrency=16, mem=128.0, decode=90.0, prefill=1_080.0)
    return _scenario("herd", seed, arrivals, machines, manners=(OBEDIENT,))


def overload(seed: int) -> Scenario:
    """Half as much again as the machines could serve."""
    return _ordinary("overload", seed, load=1.5, seconds=100.0)


def hot(seed: int) -> Scenario:
    """Six models, one of them hot; every machine has them all on disk and one in memory."""
    models = [structs.replace(MODEL, id=f"m{number}") for number in range(6)]
    names = [model.id for model in models]
    machines = mixed_fleet(30, stream(seed, "fleet"), models=names, warm=())
    machines = [structs.replace(one, warm=(names[number % 6],)) for number, one in enumerate(machines)]
    weights = {"m0": 0.9} | dict.fromkeys(names[1:], 0.02)
    return _loaded("hot", seed, machines, load=0.4, seconds=300.0, models=models, weights=weights)


def black_holes(seed: int) -> Scenario:
    """A tenth of the machines takes requests and never answers, or refuses everything."""
    machines = mixed_fleet(40, stream(seed, "fleet"), models=("m",))
    bad = machines[::10]
    events = [
        MachineEvent(at=0.0, machine=one.id, what="stall" if number % 2 else "reject") for number, one in enumerate(bad)
    ]
    return _loaded("black_holes", seed, machines, load=0.5, seconds=240.0, events=events)


def disconnect(seed: int) -> Scenario:
    """A fifth of the machines dies at the same moment and stays away."""
    machines = mixed_fleet(40, stream(seed, "fleet"), models=("m",))
    events = [MachineEvent(at=150.0, machine=one.id, what="crash", value=600.0) for one in machines[::5]]
    return _loaded("disconnect", seed, machines, load=0.5, seconds=300.0, events=events)


def chips(seed: int) -> Scenario:
    """Very different machines, a tenth of which is far slower than its benchmark said and reports so or not."""
    machines = mixed_fleet(50, stream(seed, "fleet"), models=("m",), spread=0.3)
    lying = [
        structs.replace(one, honesty=0.25, candid=number % 20 == 0) if number % 10 == 0 else one
        for number, one in enumerate(machines)
    ]
    return _loaded("chips", seed, lying, load=0.55)


def turns(seed: int) -> Scenario:
    """Conversations: most requests carry the earlier turns of their own, which a machine may still have in memory."""
    machines = mixed_fleet(40, stream(seed, "fleet"), models=("m",))
    return _loaded("turns", seed, machines, load=0.3, conversations=0.75)


def cutoff(seed: int) -> Scenario:
    """Incident: the first-content cut-off is below what the machines truly need, and clients re-send at once."""
    machines = mixed_fleet(40, stream(seed, "fleet"), models=("m",))
    found = _loaded(
        "cutoff",
        seed,
        machines,
        load=0.5,
        seconds=200.0,
        prompt=Lengths(median=900, sigma=0.8, low=16, high=6_000),
        clients=((STUBBORN, 1.0),),
        goal=Goal(ttft_base_ms=20_000.0, decode_tps=10.0),
    )
    hasty = with_settings(found.policy, {"first_content_base": "0.75", "first_content_per_token": "0.001"})
    return Scenario(setup=found.setup, policy=hasty)


def upgrade(seed: int) -> Scenario:
    """Incident: every machine installs a new version within ten minutes; each drains, restarts, and loads anew."""
    machines = mixed_fleet(20, stream(seed, "fleet"), models=("m",))
    draw = stream(seed, "upgrade")
    events = [
        MachineEvent(
            at=draw.uniform(60.0, 660.0),
            machine=one.id,
            what="upgrade",
            value=draw.uniform(15.0, 45.0),
            version="0.6.32",
        )
        for one in machines
    ]
    return _loaded("upgrade", seed, machines, load=0.4, seconds=760.0, events=events)


def sleep(seed: int) -> Scenario:
    """Incident: 65 % of the machines fall asleep and return under new sockets; some were slow or failed before."""
    machines = mixed_fleet(48, stream(seed, "fleet"), models=("m",))
    machines = [structs.replace(one, honesty=0.25) if number % 6 == 0 else one for number, one in enumerate(machines)]
    draw = stream(seed, "sleep")
    events = [MachineEvent(at=5.0, machine=one.id, what="error") for one in machines[3::6]]
    for one in machines[: round(0.65 * len(machines))]:
        events.append(MachineEvent(at=draw.uniform(120.0, 150.0), machine=one.id, what="sleep"))
        events.append(MachineEvent(at=draw.uniform(210.0, 240.0), machine=one.id, what="wake"))
    return _loaded("sleep", seed, machines, load=0.2, seconds=310.0, events=events)


def day(seed: int) -> Scenario:
    """A day with its waves, five bursts, machines that sleep at night, and one upgrade of everything."""
    machines = mixed_fleet(60, stream(seed, "fleet"), models=("m",))
    draw = stream(seed, "day")
    events: list[MachineEvent] = []
    for number, one in enumerate(machines):
        if number % 3 == 0:
            events.append(MachineEvent(at=draw.uniform(79_000.0, 83_000.0), machine=one.id, what="sleep"))
        events.append(
            MachineEvent(at=draw.uniform(36_000.0, 36_600.0), machine=one.id, what="upgrade", version="0.6.32")
        )
    bursts = tuple(Burst(start, 60.0, 3.0) for start in (20_000.0, 33_000.0, 45_000.0, 60_000.0, 70_000.0))
    return _loaded("day", seed, machines, load=0.3, seconds=86_400.0, wave=0.6, bursts=bursts, events=events)


def mornings(seed: int) -> Scenario:
    """Three Mondays: machines let go of their models over night, and at eight everybody comes at once."""
    return Scenario(setup=morning_setup(seed, MONDAYS), policy=Policy())


Builder: TypeAlias = "Callable[[int], Scenario]"

SCENARIOS: Final[dict[str, Builder]] = {
    builder.__name__: builder
    for builder in (
        steady,
        burst,
        herd,
        overload,
        hot,
        black_holes,
        disconnect,
        chips,
        turns,
        cutoff,
        upgrade,
        sleep,
        mornings,
        day,
    )
}


def build(name: str, seed: int) -> Scenario:
    """Build a scenario by name; raises `SimulationError` for an unknown one."""
    builder = SCENARIOS.get(name)
    if builder is None:
        raise SimulationError(f"There is no scenario {name!r}; choose one of: {', '.join(SCENARIOS)}.")
    return builder(seed)


def _ordinary(name: str, seed: int, *, load: float, seconds: float = 300.0, bursts: tuple[Burst, ...] = ()) -> Scenario:
    machines = mixed_fleet(40, stream(seed, "fleet"), models=("m",))
    return _loaded(name, seed, machines, load=load, seconds=seconds, bursts=bursts)


def _loaded(
    name: str,
    seed: int,
    machines: Sequence[MachineSpec],
    *,
    load: float,
    seconds: float = 300.0,
    models: Sequence[SimModel] = (MODEL,),
    weights: dict[str, float] | None = None,
    events: Sequence[MachineEvent] = (),
    goal: Goal | None = None,
    prompt: Lengths | None = None,
    clients: tuple[tuple[Manners, float], ...] = ((OBEDIENT, 0.7), (STUBBORN, 0.05), (FICKLE, 0.25)),
    conversations: float = 0.0,
    wave: float = 0.0,
    bursts: tuple[Burst, ...] = (),
) -> Scenario:
    """A scenario whose rate is `load` times what these machines could finish of this mix."""
    goal = goal if goal is not None else Goal()
    asked = Load(
        seconds=SAMPLE_SECONDS,
        rate=1.0,
        models=weights if weights is not None else {models[0].id: 1.0},
        clients=clients,
        conversations=conversations,
    )
    if prompt is not None:
        asked = structs.replace(asked, prompt=prompt)
    possible = requests_per_second(generate(asked, seed), machines, {model.id: model for model in models}, goal)
    asked = structs.replace(asked, seconds=seconds, rate=load * possible, wave=wave, bursts=bursts)
    found = _scenario(name, seed, generate(asked, seed), machines, models=models, events=events, goal=goal)
    manners = structs.replace(found.setup, manners=lambda job: draw_manners(asked, seed, job))
    return Scenario(setup=manners, policy=found.policy)


def _scenario(
    name: str,
    seed: int,
    arrivals: Sequence[Arrival],
    machines: Sequence[MachineSpec],
    *,
    models: Sequence[SimModel] = (MODEL,),
    events: Sequence[MachineEvent] = (),
    goal: Goal | None = None,
    manners: Sequence[Manners] = (OBEDIENT,),
) -> Scenario:
    setup = Setup(
        name=name,
        seed=seed,
        arrivals=arrivals,
        machines=machines,
        models=models,
        events=events,
        goal=goal if goal is not None else Goal(),
        manners=lambda job: manners[job % len(manners)],
    )
    return Scenario(setup=setup, policy=Policy())
