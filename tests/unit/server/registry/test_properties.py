"""Invariants of the state model under random sequences of events."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from protocol.messages.from_provider import LoadModelStatus, ModelEntry, ModelsUpdate
from server.registry import (
    Enqueue,
    LoadCause,
    Reservation,
    RoutingPolicy,
    Waiter,
    current_model,
    status,
    warm_models,
)
from server.registry.admission import budget_room, has_concurrency, unaccounted_tokens
from server.registry.queue import WaiterState
from server.registry.state import SlotState
from server.registry.views import in_flight, in_flight_total
from tests.unit.server.registry.agreement import holds
from tests.unit.server.registry.fleet import Fleet, register_message, request, trusted, wire_slot

NAMES = ("a", "b", "c")
MODELS = ("m", "n")
ENTRIES = tuple(ModelEntry(id=model) for model in MODELS)
POLICY = RoutingPolicy(quality_cap=False, queue_max_depth=8)

numbers = st.integers(0, 2**16)


class RegistryMachine(RuleBasedStateMachine):
    """Random providers, reports, requests, ends and waits against one registry."""

    def __init__(self) -> None:
        super().__init__()
        self.fleet = Fleet(policy=POLICY)
        self.registry = self.fleet.registry
        self.held: dict[str, Reservation] = {}
        self.waiters: list[Waiter] = []
        self.number = 0
        self.releases: dict[str, int] = {}
        self._guard_commits()

    def _guard_commits(self) -> None:
        """Check caps and budget at every commit, whatever led to it (I4)."""
        release = self.registry._on_release

        def counted(reservation: Reservation, cause: object, now: float | None) -> None:
            self.releases[reservation.request_id] = self.releases.get(reservation.request_id, 0) + 1
            release(reservation, cause, now)  # type: ignore[arg-type]

        self.registry._on_release = counted  # type: ignore[method-assign]
        place = self.registry._room._place

        def placed(*arguments: object) -> object:
            outcome = place(*arguments)  # type: ignore[arg-type]
            if isinstance(outcome, Reservation):
                self.check_commit(outcome)
            return outcome

        self.registry._room._place = placed  # type: ignore[assignment]

    def check_commit(self, reservation: Reservation) -> None:
        session = self.registry.session(reservation.session_id)
        assert session is not None
        slot = session.slot(reservation.model)
        without = session.ledger
        without.remove(reservation)
        assert has_concurrency(session, slot, reservation.model, solo=0.0, policy=POLICY)
        if slot.budget is not None and slot.state is SlotState.RESIDENT:
            unaccounted = unaccounted_tokens(session.ledger.sums(reservation.model), slot)
            assert reservation.need <= budget_room(slot.budget, unaccounted)
        without.add(reservation)

    @rule(name=st.sampled_from(NAMES))
    def connect(self, name: str) -> None:
        if self.registry.session(name) is None:
            self.fleet.connect(name, message=register_message(*ENTRIES))

    @rule(
        name=st.sampled_from(NAMES),
        states=st.lists(st.sampled_from(["running", "idle", "idle_shutdown", "reloading", "crashed", "?"]), max_size=2),
        running=st.integers(0, 2),
        budget=st.sampled_from([0, 400, 5_000]),
        numbered=st.booleans(),
        capacity=st.booleans(),
        status_text=st.sampled_from(["idle", "serving", "draining"]),
    )
    def beat(
        self,
        name: str,
        states: list[str],
        running: int,
        budget: int,
        numbered: bool,
        capacity: bool,
        status_text: str,
    ) -> None:
        self.fleet.clock.now += 1
        slots = [
            wire_slot(model, state, num_running=running, active_token_budget_max=budget, max_concurrency=3)
            for model, state in zip(MODELS, states, strict=False)
        ]
        seq = int(self.fleet.now) if numbered else 0
        self.fleet.beat(name, *slots, capacity=capacity, seq=seq, status=status_text, warm_models=("m",))

    @rule(name=st.sampled_from(NAMES), good=st.booleans())
    def challenge(self, name: str, good: bool) -> None:
        self.registry.set_trust(name, trusted(self.fleet.now if good else None), self.fleet.now)

    @rule(name=st.sampled_from(NAMES), offered=st.integers(0, 2))
    def update_models(self, name: str, offered: int) -> None:
        self.registry.models_update(name, ModelsUpdate(models=ENTRIES[:offered]), self.fleet.now)

    @rule(name=st.sampled_from(NAMES), outcome=st.sampled_from(["succeeded", "failed"]))
    def load(self, name: str, outcome: str) -> None:
        self.registry.request_load(name, "m", LoadCause.QUEUE, self.fleet.now)
        message = LoadModelStatus(model_id="m", status=outcome)  # type: ignore[arg-type]
        self.registry.load_model_status(name, message, self.fleet.now)

    @rule(model=st.sampled_from(MODELS), tokens=st.integers(1, 3_000), account=st.sampled_from("xyz"))
    def ask(self, model: str, tokens: int, account: str) -> None:
        self.number += 1
        asked = request(self.number, model=model, prompt_tokens=tokens, max_tokens=50, account_id=account)
        verdict = self.registry.decide(asked, self.fleet.now)
        if isinstance(verdict, Enqueue):
            waiter = self.registry.enqueue(asked, verdict.decision, now=self.fleet.now, wake=lambda: None)
            if isinstance(waiter, Waiter):
                self.waiters.append(waiter)
        decision = verdict.decision
        if decision is not None:
            if decision.reservation is None:
                assert sum(decision.rejections.values()) == decision.scanned
            else:
                self.held[decision.reservation.request_id] = decision.reservation
                self.check_commit(decision.reservation)

    @precondition(lambda self: self.held)
    @rule(pick=numbers, sign=st.booleans())
    def progress(self, pick: int, sign: bool) -> None:
        reservation = self._pick(pick)
        if sign:
            reservation.mark_streaming(self.fleet.now)
        else:
            reservation.mark_sent()

    @precondition(lambda self: self.held)
    @rule(pick=numbers, twice=st.booleans())
    def end(self, pick: int, twice: bool) -> None:
        reservation = self._pick(pick)
        reservation.release(self.fleet.now)
        if twice:
            assert not reservation.release(self.fleet.now)
        del self.held[reservation.request_id]

    @precondition(lambda self: self.waiters)
    @rule(pick=numbers, take=st.booleans())
    def leave_queue(self, pick: int, take: bool) -> None:
        waiter = self.waiters.pop(pick % len(self.waiters))
        reservation = waiter.take() if take else None
        self.registry.abandon(waiter)
        if reservation is not None and not reservation.released:
            self.held[reservation.request_id] = reservation

    @rule(name=st.sampled_from(NAMES), graceful=st.booleans())
    def disconnect(self, name: str, graceful: bool) -> None:
        self.registry.disconnect(name, self.fleet.now, graceful=graceful)
        assert self.registry.session(name) is None
        assert all(one.session_id != name for one in self._live())
        for model in MODELS:
            assert all(one.session_id != name for one in self.registry._index.sessions(model))

    @rule(name=st.sampled_from(NAMES))
    def supersede(self, name: str) -> None:
        """The same machine under a new connection: both live for a moment, then the older one is closed."""
        if self.registry.session(name) is None or self.registry.session(f"{name}-new") is not None:
            return
        self.fleet.connect(f"{name}-new", stable_id=f"dev-{name}", message=register_message(*ENTRIES))
        self.fleet.beat(f"{name}-new", wire_slot("m", active_token_budget_max=5_000))
        self.registry.disconnect(name, self.fleet.now, graceful=True)
        assert [one.session_id for one in self.registry.of_machine(f"dev-{name}")] == [f"{name}-new"]

    @rule(name=st.sampled_from(NAMES), kind=st.sampled_from(["error", "refuse", "load", "serve"]))
    def fail(self, name: str, kind: str) -> None:
        faults, now = self.registry.faults, self.fleet.now
        match kind:
            case "error":
                faults.error(f"dev-{name}", "m", "base", 502, now)
            case "refuse":
                faults.capacity_rejected(f"dev-{name}", "m", now, need=100, committed=300, advertised=400)
            case "load":
                faults.load_failed(f"dev-{name}", "m", now)
            case _:
                faults.accepted(f"dev-{name}", "m", now)
                faults.success(f"dev-{name}", "m", "base", now)

    @rule(seconds=st.sampled_from([1, 31, 100]))
    def time_passes(self, seconds: int) -> None:
        self.fleet.clock.now += seconds

    def _pick(self, pick: int) -> Reservation:
        return self.held[sorted(self.held)[pick % len(self.held)]]

    def _live(self) -> list[Reservation]:
        """Every reservation this test knows of that is not terminal."""
        assigned = [one.reservation for one in self.waiters if one.reservation is not None]
        return [one for one in [*self.held.values(), *assigned] if not one.released]

    @invariant()
    def ledger_holds_exactly_what_is_open(self) -> None:
        ledgers = {key: one for session in self.registry.sessions() for key, one in session.ledger.entries.items()}
        assert ledgers == {one.request_id: one for one in self._live()}

    @invariant()
    def released_once(self) -> None:
        assert all(count == 1 for count in self.releases.values())

    @invariant()
    def index_names_exactly_the_offers(self) -> None:
        for model in MODELS:
            listed = {one.session_id for one in self.registry._index.sessions(model)}
            assert listed == {one.session_id for one in self.registry.sessions() if model in one.caps.models}

    @invariant()
    def derived_views_equal_a_recount(self) -> None:
        for session in self.registry.sessions():
            assert session.ledger.by_model == session.ledger.recount()
            resident = {model for model, slot in session.slots.items() if slot.state is SlotState.RESIDENT}
            assert set(warm_models(session)) == resident
            assert set(session.slots) <= set(session.caps.models)
            current = current_model(session)
            assert current is None or current in resident
            models = {*session.slots, *(one.model for one in session.ledger.entries.values())}
            assert in_flight_total(session) == sum(in_flight(session, model) for model in models)
            if session.ledger.entries and status(session, self.fleet.now) not in {"untrusted", "draining"}:
                assert status(session, self.fleet.now) == "serving"

    @invariant()
    def index_equals_a_recount(self) -> None:
        holds(self.fleet)

    @invariant()
    def queue_holds_exactly_the_waiting(self) -> None:
        waiting = {id(one) for one in self.registry._room.waiting()}
        assert waiting == {id(one) for one in self.waiters if one.state is WaiterState.WAITING}
        assert len(self.registry._room) == len(waiting)
        for waiter in self.waiters:
            assert (waiter.reservation is not None) == (waiter.state is WaiterState.ASSIGNED)


TestRegistryMachine = RegistryMachine.TestCase
TestRegistryMachine.settings = settings(stateful_step_count=40)
