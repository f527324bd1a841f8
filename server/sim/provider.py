"""A simulated machine on the network: connections, reports, challenges, sleep, upgrades.

The coordinator's side of a connection is judged by the real state machines: trust by `TrustMachine`, silence by
`Liveness`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from protocol.failure import provider_disconnected, provider_restart
from protocol.messages.from_provider import LoadModelStatus
from protocol.messages.to_provider import AttestationChallenge
from server.link.liveness import Liveness, LivenessAction
from server.link.settings import LinkSettings
from server.ports import TrustState
from server.sim.engine import BROKEN, BUSY, DRAINING, Engine
from server.sim.report_wire import CAPABILITIES, KEY, heartbeat, registration
from server.trust import NATIVE_BACKEND, PrivacyFacts, TrustPolicy
from server.trust.effects import Effect, Publish, Supersede
from server.trust.machine import Judgement, TrustMachine

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

    from protocol.failure import AttemptFailure
    from server.registry import Registry
    from server.sim.catalog import SimModel
    from server.sim.fleet import MachineSpec
    from server.sim.journal import Journal
    from server.sim.kernel import Kernel
    from server.sim.ports import Attempts
    from server.sim.work import Work

LoadStatus: TypeAlias = Literal["started", "succeeded", "failed"]
HEARTBEAT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = (0.05, 0.4)
"""How long a machine takes to sign a challenge's answer."""
EVIDENCE_SECONDS: Final = (1.0, 8.0)
"""From the first passed challenge until the device's hardware evidence is checked."""
RECONNECT_SECONDS: Final = (0.5, 3.0)


class Channel:
    """The coordinator's end of one connection."""

    public_key = KEY

    def __init__(self, session_id: str, provider: Provider) -> None:
        self.session_id = session_id
        self._provider = provider

    def challenge_soon(self) -> None:
        """Have the machine prove itself now."""
        self._provider.challenge_soon()

    def load_model(self, model: str) -> None:
        """Ask the machine to load a model."""
        self._provider.load_model(model)

    def abort(self, code: int, reason: str) -> None:
        """Close the connection."""
        del code, reason
        self._provider.lose_connection(clean=False)


class Provider:
    """One machine, whatever becomes of its connections; `mode` is how it treats requests.

    `mode`: `ok`; `reject` refuses everything for lack of room; `error` fails everything at once.
    """

    def __init__(
        self,
        spec: MachineSpec,
        models: Mapping[str, SimModel],
        *,
        kernel: Kernel,
        registry: Registry,
        attempts: Attempts,
        journal: Journal,
        random: Random,
        trust: TrustPolicy,
        link: LinkSettings,
        known: bool = True,
        latency: tuple[float, float] = (0.008, 0.06),
    ) -> None:
        """`known` False makes a stranger of the machine at every connection: nothing that was learnt follows it."""
        self.spec = spec
        self.version = spec.version
        self.mode = "ok"
        self.engine = Engine(kernel, spec, models, random, on_loaded=self._model_loaded)
        self.latency = random.uniform(*latency)
        self.session_id: str | None = None
        """The connection that the machine believes in; None while it has none."""
        self.awake = True
        self.connections = 0
        self.routable_after: list[float] = []
        """Seconds from each registration until the machine was trusted enough to serve."""
        self._models = models
        self._kernel = kernel
        self._registry = registry
        self._attempts = attempts
        self._journal = journal
        self._random = random
        self._trust_policy = trust
        self._link = link
        self._known = known
        self._phase = random.uniform(0.0, HEARTBEAT_SECONDS)
        self._trust: TrustMachine | None = None
        self._registered_at = 0.0
        self._heard_at = 0.0
        self._sequence = 0
        self._draining = False

    # Connections

    def connect(self) -> None:
        """Open a connection and register; nothing while the machine sleeps or is connected."""
        if not self.awake or self.session_id is not None:
            return
        now = self._kernel.now
        self.connections += 1
        self.session_id = session_id = f"{self.spec.id}.{self.connections}"
        self._sequence = 0
        self._draining = False
        self._registered_at = self._heard_at = now
        message = registration(self.spec, self._models, self.version)
        state = TrustState(
            level="self_signed", attested=True, verified_at=now, runtime_verified=True, runtime_manifest_checked=True
        )
        privacy = PrivacyFacts(has_key=True, backend=NATIVE_BACKEND, encrypted_chunks=True, capabilities=CAPABILITIES)
        self._trust = TrustMachine(self._trust_policy, privacy, state, now)
        self._registry.register(
            session_id=session_id,
            message=message,
            channel=Channel(session_id, self),  # type: ignore[arg-type]
            stable_id=self.spec.id if self._known else session_id,
            account_id=None,
            trust=state,
            now=now,
        )
        self._attempts.connected(session_id, self)
        self._journal.note("connected", session_id, self.version)
        self._kernel.after(self.latency, self._beat, session_id, True)
        self._challenge(session_id)

    def lose_connection(self, *, clean: bool) -> None:
        """The connection ends, seen from both sides."""
        session_id, self.session_id = self.session_id, None
        if session_id is not None:
            self._gone(session_id, clean)
            self._kernel.after(self._random.uniform(*RECONNECT_SECONDS), self.connect)

    def replaced(self, session_id: str) -> None:
        """An older connection ends because the machine proved itself on a newer one."""
        self._gone(session_id, True)

    def _gone(self, session_id: str, clean: bool) -> None:
        """The coordinator notices the end of a connection; one that was superseded meanwhile is gone already."""
        if self._registry.session(session_id) is None:
            return
        self._journal.note("gone", session_id, clean)
        self._registry.disconnect(session_id, self._kernel.now, graceful=clean)
        self._attempts.disconnected(session_id, provider_restart() if clean else provider_disconnected())

    # Reports

    def _beat(self, session_id: str, every: bool) -> None:
        if session_id != self.session_id:
            return
        now = self._kernel.now
        self._heard_at = now
        self._sequence += 1
        self.engine.unload_idle()
        message = heartbeat(self.engine, sequence=self._sequence, draining=self._draining)
        self._registry.heartbeat(session_id, message, now)
        if every:
            wait = HEARTBEAT_SECONDS - (now - self._phase) % HEARTBEAT_SECONDS
            self._kernel.after(max(0.5, wait), self._beat, session_id, True)

    def _model_loaded(self, name: str, seconds: float, loaded: bool) -> None:
        session_id = self.session_id
        self._journal.note("loaded", self.spec.id, name, f"{seconds:.3f}")
        if session_id is None:
            return
        status: LoadStatus = "succeeded" if loaded else "failed"
        self._kernel.after(self.latency, self._load_status, session_id, name, status)

    def _load_status(self, session_id: str, name: str, status: LoadStatus) -> None:
        session = self._registry.session(session_id)
        if session is not None and name in session.loads:
            message = LoadModelStatus(model_id=name, status=status)
            self._registry.load_model_status(session_id, message, self._kernel.now)

    def load_model(self, name: str) -> None:
        """The coordinator asks for a model; what becomes of it is reported."""
        self._kernel.after(self.latency, self._load, name)

    def _load(self, name: str) -> None:
        session_id = self.session_id
        if session_id is None:
            return
        slot = self.engine.slots.get(name)
        resident = slot is not None and slot.wire_state != "reloading"
        status: LoadStatus = "succeeded" if resident else "started" if self.engine.load(name) else "failed"
        self._kernel.after(self.latency, self._load_status, session_id, name, status)

    # Trust

    def _challenge(self, session_id: str) -> None:
        machine = self._trust
        if session_id != self.session_id or machine is None:
            return
        if machine.outstanding is None and self._kernel.now >= machine.due:
            nonce = f"{session_id}:{self._kernel.now:.6f}"
            jitter = self._trust_policy.challenge_jitter * self._random.uniform(-1.0, 1.0)
            next_at = self._kernel.now + self._trust_policy.challenge_interval * (1.0 + jitter)
            self._apply(session_id, machine.challenge(AttestationChallenge(nonce=nonce, timestamp=""), next_at))
            machine.written(nonce, self._kernel.now)
            answer = 2 * self.latency + self._random.uniform(*ANSWER_SECONDS)
            self._kernel.after(answer, self._answered, session_id, nonce)

    def challenge_soon(self) -> None:
        """Bring the next challenge forward."""
        if self._trust is not None and self.session_id is not None:
            self._trust.hasten(self._kernel.now)
            self._kernel.after(0.0, self._challenge, self.session_id)

    def _answered(self, session_id: str, nonce: str) -> None:
        machine = self._trust
        if session_id != self.session_id or machine is None or machine.take(nonce) is None:
            return
        now = self._kernel.now
        first = not machine.state.admitted
        self._apply(session_id, machine.judge(Judgement(outcome="pass", code="ok", signed=True), now))
        if first and self.spec.trust == "hardware":
            self._kernel.after(self._random.uniform(*EVIDENCE_SECONDS), self._evidence, session_id, machine.state.epoch)
        elif first:
            self._became_routable()
        self._kernel.at(machine.due, self._challenge, session_id)

    def _evidence(self, session_id: str, epoch: int) -> None:
        if session_id == self.session_id and self._trust is not None:
            self._apply(session_id, self._trust.grant("hardware", epoch, "hardware_verified"))
            self._became_routable()

    def _became_routable(self) -> None:
        self.routable_after.append(self._kernel.now - self._registered_at)

    def _apply(self, session_id: str, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Publish(state):
                    self._registry.set_trust(session_id, replace(state), self._kernel.now)
                case Supersede():
                    self._attempts.supersede(self, session_id)
                case _:
                    pass

    # Requests, as they arrive at the machine

    def submit(self, work: Work) -> None:
        """A request frame arrives."""
        self._kernel.after(self.latency, self._submit, self.session_id, work)

    def _submit(self, session_id: str | None, work: Work) -> None:
        if session_id is None or session_id != self.session_id:
            return
        refused: AttemptFailure | None
        if self._draining:
            refused = DRAINING
        elif self.mode == "reject":
            refused = BUSY
        elif self.mode == "error":
            refused = BROKEN
        else:
            refused = self.engine.submit(work)
        if refused is not None:
            self._kernel.after(self.latency, work.events.on_error, refused)

    def cancel(self, request_id: str) -> None:
        """A cancel frame is on its way."""
        self._kernel.after(self.latency, self.engine.cancel, request_id)

    # What owners do

    def fall_asleep(self) -> None:
        """The lid closes: nothing is computed and nothing is said, and the coordinator finds out by the silence."""
        if not self.awake:
            return
        self.awake = False
        self.engine.stop()
        self._journal.note("asleep", self.spec.id)
        session_id, self.session_id = self.session_id, None
        if session_id is not None:
            self._kernel.at(self._noticed_at(), self._gone, session_id, False)

    def _noticed_at(self) -> float:
        """When silence ends a connection that was last heard of at `_heard_at`."""
        liveness = Liveness(self._link, self._heard_at)
        while True:
            due = liveness.due
            if {LivenessAction.PONG_TIMEOUT, LivenessAction.EVICT} & set(liveness.tick(due)):
                return due

    def wake_up(self) -> None:
        """The lid opens: the machine connects anew, with its weights and without anything that it had measured."""
        if not self.awake:
            self.awake = True
            self.engine.forget_measurements()
            self._kernel.after(self._random.uniform(*RECONNECT_SECONDS), self.connect)

    def drain(self) -> None:
        """Take no new work, as before an upgrade."""
        self._draining = True
        if self.session_id is not None:
            self._kernel.after(self.latency, self._beat, self.session_id, False)

    def upgrade(self, version: str, *, patience: float, away: float) -> None:
        """Drain, wait `patience` seconds at most for what runs, stop, and return after `away` seconds, cold."""
        self.drain()
        self._kernel.after(1.0, self._leave_when_idle, version, self._kernel.now + patience, away)

    def _leave_when_idle(self, version: str, until: float, away: float) -> None:
        if not self.awake:
            return
        if self.engine.is_busy and self._kernel.now < until:
            self._kernel.after(1.0, self._leave_when_idle, version, until, away)
            return
        self.awake = False
        session_id, self.session_id = self.session_id, None
        if session_id is not None:
            self._gone(session_id, True)
        self.engine.restart()
        self.version = version
        self._journal.note("upgrading", self.spec.id, version)
        self._kernel.after(away, self._started)

    def _started(self) -> None:
        self.awake = True
        self.connect()
        for name in self.spec.warm:
            self.engine.load(name)

    def crash(self, away: float) -> None:
        """The process dies and is started again after `away` seconds, cold."""
        if not self.awake:
            return
        self.awake = False
        session_id, self.session_id = self.session_id, None
        if session_id is not None:
            self._gone(session_id, False)
        self.engine.restart()
        self._kernel.after(away, self._started)
