"""What the registry holds: all live sessions, the catalogue in force, the waiting room, and plain views of them.

Invariant: nothing here has a checkpoint, so no lock is needed and nothing is ever half done.
"""

from __future__ import annotations

import time
from random import Random
from typing import TYPE_CHECKING

from server.registry.audit import AuditFinding, audit
from server.registry.calibration import TtftCalibration
from server.registry.capacity import ModelCapacity, model_capacity
from server.registry.catalog import Catalog, CatalogEntry
from server.registry.demand import Demand
from server.registry.estimates import Estimates
from server.registry.faults import FaultMemory, FaultView
from server.registry.first_content import FirstContentTimes
from server.registry.gates import GateContext
from server.registry.holders import Holders
from server.registry.index import RoutingIndex
from server.registry.ledger import ReleaseCause, Reservation
from server.registry.loads import LoadDurations
from server.registry.machines import Machines
from server.registry.output_length import OutputLengths
from server.registry.pace import ReleasePace
from server.registry.policy import RoutingPolicy
from server.registry.queue import WaitingRoom
from server.registry.rates import FleetRates
from server.registry.reserve import Chooser
from server.registry.roster import Roster
from server.registry.traces import RoutingTraces
from server.trust import is_proven, meets_floor

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from server.registry.pool import Pool
    from server.registry.reasons import Reason
    from server.registry.request import RoutedRequest
    from server.registry.state import Session


class Fleet:
    """Live sessions and what is shared by all decisions over them; `now` is the monotonic clock in seconds.

    `clock` is read only where a caller cannot pass `now`: at the end of a reservation's `with` block. `lasting_clock`
    (seconds that go on over restarts) dates what is remembered of machines.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        policy: RoutingPolicy | None = None,
        catalog: Iterable[CatalogEntry] | None = None,
        fault_view: FaultView | None = None,
        random: Random | None = None,
        lasting_clock: Callable[[], float] = time.time,
    ) -> None:
        self.policy = policy if policy is not None else RoutingPolicy()
        self.faults = FaultMemory()
        """Where outcomes are recorded; gates read it unless another view was given."""
        self.rates = FleetRates()
        self.calibration = TtftCalibration()
        self.output_lengths = OutputLengths()
        self.first_content = FirstContentTimes()
        self.load_durations = LoadDurations()
        self.demand = Demand()
        self.holders = Holders(self.policy.cache_ttl)
        """Which machines hold the beginnings of whose prompts."""
        self._clock = clock
        self._random = random if random is not None else Random()
        self._sessions: dict[str, Session] = {}
        self._index = RoutingIndex()
        self._roster = Roster()
        self._chooser = Chooser(
            self._sessions,
            self._index,
            self._roster,
            self.holders,
            random=self._random,
            releaser=self._on_release,
        )
        self._pace = ReleasePace(self._random)
        self.machines = Machines(lasting_clock, load_factor=self.policy.load_factor)
        """What is remembered of machines over their connections."""
        self.traces = RoutingTraces()
        """What was decided for the last requests, and how it went."""
        self.estimates = Estimates(
            ttft_ratio=self.calibration.ratio,
            load_seconds=self.load_durations.known,
            output_tokens=self.output_lengths.expected,
            machine_tps=self._machine_tps,
            doubtful=self.machines.is_doubtful,
        )
        self._fault_view = fault_view if fault_view is not None else self.faults
        self.faults.on_change = self._on_faults
        self._use_catalog(Catalog(catalog, is_offered=self._is_offered))
        self._room = WaitingRoom(self.policy, self._place)

    # Views

    def session(self, session_id: str) -> Session | None:
        """Return a live session."""
        return self._sessions.get(session_id)

    def sessions(self) -> Collection[Session]:
        """All live sessions, in the order in which they came."""
        return self._sessions.values()

    def pool(self, model: str) -> Pool | None:
        """Return the index of a model: counts and sums of those who offer it; None when nobody does."""
        return self._index.pool(model)

    def gate_counts(self) -> list[tuple[str, str, int]]:
        """Sessions by model and first gate against a small public request (`passed`: none), for proven models alone."""
        return [
            (pool.model, "passed" if reason is None else reason.value, count)
            for pool in self._index.pools()
            if pool.admitted
            for reason, count in pool.tally().items()
        ]

    def owned(self, account_id: str | None) -> Collection[Session]:
        """Return the live machines of an account."""
        return self._roster.owned(account_id)

    def of_machine(self, stable_id: str) -> Collection[Session]:
        """Return the live sessions of a machine."""
        return self._roster.of_machine(stable_id)

    def offering(self, model: str) -> Collection[Session]:
        """The live sessions that offer a model."""
        return self._index.sessions(model)

    @property
    def gate_context(self) -> GateContext:
        """What the gates share, for readers beside routing."""
        return self._context

    def trusted_sessions(self) -> tuple[Session, ...]:
        """Sessions that proved themselves and meet the trust floor: what is published of the fleet comes from these."""
        return tuple(session for session in self._sessions.values() if self._is_trusted(session))

    def capacity(self, now: float) -> list[ModelCapacity]:
        """One row per model that at least one publicly live provider serves, by model id, from running sums."""
        rows = (self.model_capacity(model, now) for model in sorted(self._index.models()))
        return [row for row in rows if row is not None]

    def model_capacity(self, model: str, now: float) -> ModelCapacity | None:
        """Capacity of one model, None when no publicly live provider serves it."""
        self._index.advance(now)
        pool = self._index.pool(model)
        if pool is None:
            return None
        return model_capacity(pool, queued=self._room.depth(model), limit=self.policy.queue_max_depth)

    # Catalogue

    @property
    def catalog(self) -> Catalog:
        """The catalogue in force."""
        return self._catalog

    def _use_catalog(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._context = self._index.context = GateContext(
            policy=self.policy,
            catalog=catalog,
            faults=self._fault_view,
            rates=self.rates,
            estimates=self.estimates,
        )

    def _note_advertised(self, session: Session) -> None:
        """Remember a session's models, but only those of a trusted one: anyone can invent names."""
        if self._is_trusted(session):
            for model in session.caps.models:
                self._catalog.note_advertised(model)

    def _is_offered(self, model: str) -> bool:
        pool = self._index.pool(model)
        return pool is not None and pool.admitted > 0

    def _is_trusted(self, session: Session) -> bool:
        return is_proven(session.trust) and meets_floor(session.trust, self.policy.min_trust)

    # Reservations

    def _place(self, session: Session, request: RoutedRequest, ignore_health: bool, now: float) -> Reservation | Reason:
        context = self._context.without_health() if ignore_health else self._context
        placed = self._chooser.commit(session, request, context, now)
        if isinstance(placed, Reservation):
            placed.on_content = self._on_content
            self.traces.placed(placed)
        return placed

    def audit(self, now: float) -> tuple[AuditFinding, ...]:
        """Report old reservations without a living owner, and release those whose bound owner has ended."""
        return audit(self._sessions.values(), now, older_than=self.policy.audit_after)

    def _on_release(self, reservation: Reservation, cause: ReleaseCause, now: float | None) -> None:
        session = self._sessions.get(reservation.session_id)
        if session is None or not session.ledger.remove(reservation):
            return
        session.touch()
        at = self._clock() if now is None else now
        self._index.refresh(session, at)
        self.traces.ended(reservation, reservation.reached, at)
        if cause is ReleaseCause.OWNER:
            self._pace.note_release(reservation.model, at)
        self._room.drain(session, at)

    def _on_content(self, reservation: Reservation, now: float) -> None:
        """Count its prompt as done, and have the weights confirmed while they must be loaded.

        The provider's own reports may hide that they are.
        """
        session = self._sessions.get(reservation.session_id)
        if session is None:
            return
        model = reservation.model
        session.ledger.start(reservation)
        self.traces.content(reservation, now)
        if not reservation.cached_tokens:  # whether it held them is known at the end alone
            speed = session.speeds.get(model)
            own = reservation.prompt_tokens / speed.prefill if speed is not None else 0.0
            self.machines.first_content(session.ident.stable_id, 1000 * (now - reservation.reserved_at - own))
        expected = self._catalog.expected_hash(model)
        if not expected or session.trust.model_hashes.get(model) == expected or model in session.content_since:
            session.touch()
            self._index.follow_start(session, model)
            return
        session.content_since[model] = now
        session.touch_slow()
        self._index.refresh(session, now)
        session.channel.challenge_soon()

    def _machine_tps(self, stable_id: str, model: str) -> float:
        """Rate of one stream alone that a machine had before it came back; 0 when it was never measured."""
        record = self.machines.get(stable_id)
        speed = record.speeds.get(model) if record is not None else None
        return speed.decode if speed is not None else 0.0

    def _on_faults(self, stable_id: str) -> None:
        """Judge a machine again: something was learnt against it, or for it."""
        for session in self._roster.of_machine(stable_id):
            now = self._clock()
            asked = self._fault_view.pair
            if any(asked(stable_id, model, now) != entry.faults for model, entry in session.entries.items()):
                session.touch_slow()
                self._index.refresh(session, now)
