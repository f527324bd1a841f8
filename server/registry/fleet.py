"""What the registry holds: all live sessions, the catalogue in force, the waiting room, and plain views of them.

Invariant: nothing here has a checkpoint, so no lock is needed and nothing is ever half done.
"""

from __future__ import annotations

from random import Random, SystemRandom
from typing import TYPE_CHECKING

from server.registry.audit import AuditFinding, audit
from server.registry.capacity import ModelCapacity, model_capacity
from server.registry.catalog import Catalog, CatalogEntry
from server.registry.faults import FaultMemory, FaultView
from server.registry.gates import GateContext
from server.registry.index import ModelIndex
from server.registry.ledger import ReleaseCause, Reservation
from server.registry.pace import ReleasePace
from server.registry.policy import RoutingPolicy
from server.registry.queue import WaitingRoom
from server.registry.rates import FleetRates
from server.registry.reserve import commit
from server.trust import is_proven, meets_floor

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from server.registry.reasons import Reason
    from server.registry.request import RoutedRequest
    from server.registry.state import Session


class Fleet:
    """Live sessions and what is shared by all decisions over them; `now` is the monotonic clock in seconds.

    `clock` is read only where a caller cannot pass `now`: at the end of a reservation's `with` block.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        policy: RoutingPolicy | None = None,
        catalog: Iterable[CatalogEntry] | None = None,
        fault_view: FaultView | None = None,
        random: Random | None = None,
    ) -> None:
        self.policy = policy if policy is not None else RoutingPolicy()
        self.faults = FaultMemory()
        """Where outcomes are recorded; gates read it unless another view was given."""
        self.rates = FleetRates()
        self._clock = clock
        self._random = random if random is not None else SystemRandom()
        self._sessions: dict[str, Session] = {}
        self._index = ModelIndex()
        self._pace = ReleasePace(self._random)
        self._fault_view = fault_view if fault_view is not None else self.faults
        self._use_catalog(Catalog(catalog, is_offered=self._is_offered))
        self._room = WaitingRoom(self.policy, self._place)

    # Views

    def session(self, session_id: str) -> Session | None:
        """Return a live session."""
        return self._sessions.get(session_id)

    def sessions(self) -> Collection[Session]:
        """All live sessions, in the order in which they came."""
        return self._sessions.values()

    def trusted_sessions(self) -> tuple[Session, ...]:
        """Sessions that proved themselves and meet the trust floor: what is published of the fleet comes from these."""
        return tuple(session for session in self._sessions.values() if self._is_trusted(session))

    def capacity(self, now: float) -> list[ModelCapacity]:
        """One row per model that at least one publicly live provider serves, by model id. Costs a scan: cache it."""
        offered = {model for session in self.trusted_sessions() for model in session.caps.models}
        rows = (self.model_capacity(model, now) for model in sorted(offered))
        return [row for row in rows if row is not None]

    def model_capacity(self, model: str, now: float) -> ModelCapacity | None:
        """Capacity of one model, None when no publicly live provider serves it."""
        return model_capacity(
            model, self._index.sessions(model), self._context, queued=self._room.depth(model), now=now
        )

    # Catalogue

    @property
    def catalog(self) -> Catalog:
        """The catalogue in force."""
        return self._catalog

    def _use_catalog(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._context = GateContext(policy=self.policy, catalog=catalog, faults=self._fault_view, rates=self.rates)

    def _note_advertised(self, session: Session) -> None:
        """Remember a session's models, but only those of a trusted one: anyone can invent names."""
        if self._is_trusted(session):
            for model in session.caps.models:
                self._catalog.note_advertised(model)

    def _is_offered(self, model: str) -> bool:
        return any(session.trust.admitted for session in self._index.sessions(model))

    def _is_trusted(self, session: Session) -> bool:
        return is_proven(session.trust) and meets_floor(session.trust, self.policy.min_trust)

    # Reservations

    def _place(self, session: Session, request: RoutedRequest, ignore_health: bool, now: float) -> Reservation | Reason:
        context = self._context.without_health() if ignore_health else self._context
        placed = commit(session, request, context, now, self._on_release)
        if isinstance(placed, Reservation):
            placed.on_content = self._on_content
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
        if cause is ReleaseCause.OWNER:
            self._pace.note_release(reservation.model, at)
        self._room.drain(session, at)

    def _on_content(self, reservation: Reservation, now: float) -> None:
        """Have the weights confirmed while they must be loaded: the provider's own reports may hide that they are."""
        session = self._sessions.get(reservation.session_id)
        model = reservation.model
        expected = self._catalog.expected_hash(model)
        if session is None or not expected or session.trust.model_hashes.get(model) == expected:
            return
        if model not in session.content_since:
            session.content_since[model] = now
            session.touch_slow()
            session.channel.challenge_soon()
