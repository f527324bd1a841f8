"""One run: a fleet, a trace, what goes wrong, and a policy; from the first connection to the last answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct, field

from server.link.settings import LinkSettings
from server.pool import FleetHedging, PoolPolicy
from server.registry import Registry, RoutingPolicy
from server.registry.request import RoutedRequest
from server.relay.clocks import RelayTimes
from server.relay.hedge import HedgePolicy
from server.relay.history import AttemptLimits
from server.sim import faults
from server.sim.catalog import SimModel, catalog_entries
from server.sim.clients import OBEDIENT, Client, Manners
from server.sim.coordinator import Coordinator
from server.sim.faults import MachineEvent, checked_events
from server.sim.fleet import MachineSpec, checked_fleet
from server.sim.journal import Journal
from server.sim.kernel import Kernel
from server.sim.pool import PoolTicker
from server.sim.provider import Provider
from server.sim.seeds import stream
from server.sim.tally import Goal, Tally
from server.sim.trace import Arrival, in_order
from server.trust import TrustPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TextIO

SAMPLE_SECONDS: Final = 5.0
MAINTENANCE_SECONDS: Final = 60.0
CONNECT_SECONDS: Final = 5.0
"""Machines of a run come one after the other within this time, long before the trace begins."""


class Policy(Struct, frozen=True, kw_only=True):
    """Everything that is compared when two policies are: settings of routing, of the relay's clocks and limits."""

    routing: RoutingPolicy = field(default_factory=RoutingPolicy)
    times: RelayTimes = field(default_factory=RelayTimes)
    limits: AttemptLimits = field(default_factory=AttemptLimits)
    trust: TrustPolicy = field(default_factory=TrustPolicy)
    hedging: HedgePolicy | None = field(default_factory=HedgePolicy)
    pool: PoolPolicy = field(default_factory=PoolPolicy)


class Setup(Struct, frozen=True, kw_only=True):
    """Input of a run. `manners` says who sends the n-th request; times in seconds."""

    name: str
    seed: int
    arrivals: Sequence[Arrival]
    machines: Sequence[MachineSpec]
    models: Sequence[SimModel]
    events: Sequence[MachineEvent] = ()
    manners: Callable[[int], Manners] = lambda _job: OBEDIENT
    goal: Goal = Goal()
    warm_up: float = 30.0
    tail: float = 180.0
    link: LinkSettings = field(default_factory=LinkSettings)
    latency: tuple[float, float] = (0.008, 0.06)
    """One-way latency to a machine, drawn for each between these bounds (seconds)."""
    known: bool = True
    """False: machines that reconnect are strangers, so that one can see what memory is worth."""
    calendar: Callable[[float], float] = lambda seconds: seconds
    """The date, in seconds since the epoch, of a time of the run: the hour of the week, for policies that heed it."""

    @property
    def trace_seconds(self) -> float:
        """From the beginning of the trace to its last arrival."""
        return self.arrivals[-1].t_ms / 1000


class Sample(Struct, frozen=True, gc=False):
    """The network at one moment of the trace (seconds)."""

    at: float
    connected: int
    eligible: int
    """Machines that a small request could be sent to, room aside."""
    running: int
    queued: int


class Run(Struct, frozen=True, kw_only=True):
    """A finished run: everything a report is made of."""

    setup: Setup
    policy: Policy
    tally: Tally
    providers: Sequence[Provider]
    samples: Sequence[Sample]
    busy_seconds: Sequence[float]
    """How long each machine was busy until the last arrival."""
    seconds: float
    """Length of the run without its warm-up."""
    steps: int
    digest: str
    events_logged: int


def simulate(setup: Setup, policy: Policy | None = None, *, log: TextIO | None = None) -> Run:
    """Run to the end; the same input always gives the same run, to the last event. Raises `SimulationError`."""
    return World(setup, policy if policy is not None else Policy(), log).run()


class World:
    """All parts of one run, joined; `registry` is the real one."""

    def __init__(self, setup: Setup, policy: Policy, log: TextIO | None = None) -> None:
        self._setup = setup
        self._policy = policy
        self._arrivals = in_order(setup.arrivals)
        self._kernel = Kernel()
        self._journal = Journal(self._kernel, log)
        self._tally = Tally()
        self._models: Mapping[str, SimModel] = {model.id: model for model in setup.models}
        self.registry = Registry(
            clock=self._kernel.clock,
            policy=policy.routing,
            catalog=catalog_entries(setup.models),
            random=stream(setup.seed, "routing"),
        )
        self._coordinator = Coordinator(
            self._kernel,
            self.registry,
            self._journal,
            self._tally,
            times=policy.times,
            limits=policy.limits,
            hedging=FleetHedging(self.registry, policy.hedging) if policy.hedging is not None else None,
        )
        PoolTicker(self._kernel, self.registry, policy.pool, setup.calendar)
        self.providers = {spec.id: self._provider(spec) for spec in checked_fleet(setup.machines)}
        self._samples: list[Sample] = []
        self._end = setup.warm_up + setup.trace_seconds + setup.tail

    def _provider(self, spec: MachineSpec) -> Provider:
        return Provider(
            spec,
            self._models,
            kernel=self._kernel,
            registry=self.registry,
            attempts=self._coordinator,
            journal=self._journal,
            random=stream(self._setup.seed, "machine", spec.id),
            trust=self._policy.trust,
            link=self._setup.link,
            known=self._setup.known,
            latency=self._setup.latency,
        )

    def settle(self) -> float:
        """Let the fleet connect and prove itself, and nothing else; returns the moment at which the trace may begin."""
        self._connect()
        self._kernel.run(self._setup.warm_up)
        return self._kernel.now

    def _connect(self) -> None:
        begin = stream(self._setup.seed, "connect")
        for provider in self.providers.values():
            self._kernel.at(begin.uniform(0.0, CONNECT_SECONDS), provider.connect)

    def run(self) -> Run:
        """Run to the end."""
        setup, kernel = self._setup, self._kernel
        self._connect()
        for event in checked_events(setup.events, self.providers):
            kernel.at(setup.warm_up + event.at, faults.apply, event, self.providers[event.machine])
        kernel.at(MAINTENANCE_SECONDS, self._maintain)
        kernel.at(setup.warm_up, self._sample)
        kernel.at(setup.warm_up + self._arrivals[0].t_ms / 1000, self._arrive, 0)
        kernel.run(setup.warm_up + setup.trace_seconds)
        busy = [provider.engine.busy_seconds for provider in self.providers.values()]
        kernel.run(self._end)
        return Run(
            setup=setup,
            policy=self._policy,
            tally=self._tally,
            providers=list(self.providers.values()),
            samples=self._samples,
            busy_seconds=busy,
            seconds=self._end - setup.warm_up,
            steps=kernel.steps,
            digest=self._journal.digest,
            events_logged=self._journal.lines,
        )

    def _arrive(self, number: int) -> None:
        """Start one job and plan the next: the calendar never holds the whole trace."""
        arrivals, setup = self._arrivals, self._setup
        if number + 1 < len(arrivals):
            self._kernel.at(setup.warm_up + arrivals[number + 1].t_ms / 1000, self._arrive, number + 1)
        Client(
            self._coordinator,
            self._tally,
            arrivals[number],
            number,
            setup.manners(number),
            stream(setup.seed, "pause", number),
        ).start()

    def _maintain(self) -> None:
        """What the registry's maintenance task does."""
        now = self._kernel.now
        self.registry.faults.sweep(now)
        self.registry.audit(now)
        self._kernel.after(MAINTENANCE_SECONDS, self._maintain)

    def _sample(self) -> None:
        kernel, registry = self._kernel, self.registry
        model = self._setup.models[0].id
        probe = RoutedRequest(request_id="", logical_id="", model=model, prompt_tokens=16, max_tokens=16)
        found = registry.look(probe, kernel.now)
        self._samples.append(
            Sample(
                at=kernel.now - self._setup.warm_up,
                connected=len(registry.sessions()),
                eligible=found.candidates + found.capacity_rejections,
                running=sum(len(session.ledger) for session in registry.sessions()),
                queued=sum(registry.queue_depth(name) for name in registry.queued_models()),
            )
        )
        kernel.after(SAMPLE_SECONDS, self._sample)
