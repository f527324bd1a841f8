"""The registry: owner of all sessions, and the thin shell around the pure routing functions.

Invariant: every method is synchronous and free of checkpoints, so no lock is needed and nothing is ever half done.
Invariant: after `disconnect` no index, ledger, load or session map names the session.
"""

from __future__ import annotations

import logging
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Final

from msgspec import structs

from server.registry import intake, loads, preflight
from server.registry.audit import AuditFinding, audit
from server.registry.capacity import ModelCapacity, model_capacity
from server.registry.catalog import Catalog, CatalogEntry
from server.registry.decision import Decision, Dispatch, Refusal, Verdict
from server.registry.faults import FaultMemory, FaultView
from server.registry.gates import GateContext
from server.registry.index import ModelIndex
from server.registry.ledger import ReleaseCause, Reservation
from server.registry.policy import RoutingPolicy
from server.registry.queue import QueueFailure, Waiter, WaitingRoom
from server.registry.rates import FleetRates, ReleaseRate, ewma
from server.registry.reserve import choose_and_commit, commit, decision, scan
from server.registry.retry_after import retry_after_ms
from server.registry.state import Caps, Ident, Live, LoadCause, Session, SlotState
from server.trust import is_proven, meets_floor

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from protocol.messages.from_provider import Heartbeat, LoadModelStatus, ModelsUpdate, Register
    from server.ports import ProviderChannel, TrustState
    from server.registry.reasons import Reason
    from server.registry.request import RoutedRequest
    from server.registry.state import Slot

log = logging.getLogger(__name__)

ROUTE_LATENCY_ALPHA: Final = 0.2
RELEASE_RATES_MAX: Final = 4_096


class Registry:
    """All live provider sessions and the decisions over them; `now` is the monotonic clock in seconds.

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
        self._release_rates: dict[str, ReleaseRate] = {}
        self._route_latency_ms: float | None = None
        self._epoch = 0
        self._fault_view = fault_view if fault_view is not None else self.faults
        self._use_catalog(Catalog(catalog, is_offered=self._is_offered))
        self._room = WaitingRoom(self.policy, self._place)

    # Sessions

    def register(
        self,
        *,
        session_id: str,
        message: Register,
        channel: ProviderChannel,
        stable_id: str,
        account_id: str | None,
        trust: TrustState,
        now: float,
        serials: frozenset[str] = frozenset(),
        restoring: bool = False,
    ) -> Session:
        """Enter a session; raises `ValueError` when the id is known. It takes no work before its trust admits it."""
        if session_id in self._sessions:
            raise ValueError(f"Session {session_id!r} is registered already; open a new connection for a new one.")
        self._epoch += 1
        session = Session(
            ident=Ident(
                session_id=session_id, stable_id=stable_id, account_id=account_id, serials=serials, epoch=self._epoch
            ),
            channel=channel,
            caps=intake.caps_from_register(
                message, public_key=channel.public_key, catalog=self._catalog, policy=self.policy
            ),
            trust=trust,
            live=Live(last_heartbeat=now),
            restoring=restoring,
        )
        self._sessions[session_id] = session
        self._index.add(session)
        self._note_advertised(session)
        self._room.drain(session, now)
        return session

    def models_update(self, session_id: str, message: ModelsUpdate, now: float) -> bool:
        """Replace the offered models; False for an unknown session."""
        session = self._known(session_id, "models_update")
        if session is None:
            return False
        self._replace_caps(session, intake.caps_from_update(session.caps, message, self._catalog))
        self._room.drain(session, now)
        return True

    def _replace_caps(self, session: Session, caps: Caps) -> None:
        """Follow a change of the accepted models in slots, index and queues."""
        before = session.caps.models
        session.caps = caps
        session.slots = {model: slot for model, slot in session.slots.items() if model in caps.models}
        session.touch_slow()
        for model in self._index.replace(session, before):
            self._room.fail_model(model, QueueFailure.NO_PROVIDER)
        self._note_advertised(session)

    def heartbeat(self, session_id: str, message: Heartbeat, now: float) -> bool:
        """Apply one heartbeat and offer the session's room to waiters; False for an unknown session."""
        session = self._known(session_id, "heartbeat")
        if session is None:
            return False
        if intake.is_repeated(message, session.live):
            session.live = structs.replace(session.live, last_heartbeat=now)
            session.touch()
            return True
        before = session.slots
        session.slots = intake.slots_from_heartbeat(message, models=session.caps.models, previous=before, now=now)
        session.live = intake.live_from_heartbeat(
            message, before=session.live, draining_expiry=self.policy.draining_expiry, now=now
        )
        intake.merge_counters(message.stats, session.counters, session.totals)
        if session.live.has_capacity:
            session.ledger.reflect(now)
            self.rates.feed(session, before)
        if _residency(before) != _residency(session.slots):
            session.touch_slow()
        else:
            session.touch()
        self._room.drain(session, now)
        return True

    def set_trust(self, session_id: str, trust: TrustState, now: float) -> bool:
        """Replace the trust part; a session that became eligible serves waiters at once. False for an unknown one."""
        session = self._known(session_id, "set_trust")
        if session is None:
            return False
        was_trusted = self._is_trusted(session)
        session.trust = trust
        for model, confirmed in trust.model_hashes.items():
            if confirmed == self._catalog.expected_hash(model):
                session.content_since.pop(model, None)
        session.touch_slow()
        if not was_trusted:
            self._note_advertised(session)
        self._room.drain(session, now)
        return True

    def identify(
        self,
        session_id: str,
        *,
        now: float,
        stable_id: str | None = None,
        account_id: str | None = None,
        serials: frozenset[str] | None = None,
    ) -> bool:
        """Note what was learnt of a session's identity after registration; what is not given stays.

        With this the machine's stored state counts as restored, and the session may take work.
        """
        session = self._known(session_id, "identify")
        if session is None:
            return False
        ident = session.ident
        session.ident = structs.replace(
            ident,
            stable_id=stable_id if stable_id is not None else ident.stable_id,
            account_id=account_id if account_id is not None else ident.account_id,
            serials=serials if serials is not None else ident.serials,
        )
        session.restoring = False
        session.touch_slow()
        self._room.drain(session, now)
        return True

    def mark_draining(self, session_id: str, now: float) -> None:
        """Stop sending work to a provider that said so; its next ordinary heartbeat ends this."""
        session = self._sessions.get(session_id)
        if session is not None:
            session.live = structs.replace(session.live, draining_until=now + self.policy.draining_expiry)
            session.touch()

    def disconnect(self, session_id: str, now: float, *, graceful: bool) -> tuple[Reservation, ...]:
        """Forget a session: release its ledger, leave every index, fail waiters that nobody can serve any more.

        Idempotent. Returns the reservations that were open. Attempts hear of it through the provider link.
        """
        session = self._sessions.pop(session_id, None)
        if session is None:
            return ()
        session.connected = False
        orphaned = self._index.remove(session, session.caps.models)
        session.loads.clear()
        open_reservations = tuple(session.ledger.entries.values())
        for reservation in open_reservations:
            session.ledger.remove(reservation)
            reservation.release(now, cause=ReleaseCause.DISCONNECT)
        session.touch_slow()
        log.info(
            "session_gone",
            extra={"session_id": session_id, "graceful": graceful, "open_reservations": len(open_reservations)},
        )
        for model in orphaned:
            self._room.fail_model(model, QueueFailure.NO_PROVIDER)
        return open_reservations

    # Model loads

    def request_load(self, session_id: str, model: str, cause: LoadCause, now: float) -> bool:
        """Note that `load_model` is about to be sent; False when a load is pending, cooling down or impossible."""
        session = self._sessions.get(session_id)
        if session is None or not loads.request(session, model, cause, now):
            return False
        session.touch()
        return True

    def load_model_status(self, session_id: str, message: LoadModelStatus, now: float) -> loads.LoadOutcome:
        """Apply the progress of a load that this coordinator asked for; anything else is ignored with a warning."""
        session = self._known(session_id, "load_model_status")
        if session is None:
            return loads.LoadOutcome.IGNORED
        outcome = loads.apply_status(session, message.model_id, message.status, now)
        if outcome is loads.LoadOutcome.IGNORED:
            log.warning("load_status_unsolicited", extra={"session_id": session_id})
        elif outcome is loads.LoadOutcome.SUCCEEDED:
            session.touch_slow()
            self._room.drain(session, now)
        else:
            session.touch()
        return outcome

    # Decisions

    def choose_and_reserve(self, request: RoutedRequest, now: float) -> Decision:
        """Pick the best provider and reserve it in one synchronous step; see `Decision` for why there is none."""
        found = choose_and_commit(
            self._index.sessions(request.model),
            request,
            self._context,
            now,
            random=self._random,
            releaser=self._on_release,
        )
        if found.reservation is not None:
            found.reservation.on_content = self._on_content
        return found

    def look(self, request: RoutedRequest, now: float) -> Decision:
        """Run the same gates without reserving anything."""
        found = scan(self._index.sessions(request.model), request, self._context, now)
        return decision(request, found, found.candidates, found.rejections, self._context)

    def decide(self, request: RoutedRequest, now: float) -> Verdict:
        """Dispatch (reserved), enqueue or refuse a new request.

        When the build has no place and the alias has a previous build with one, that is reserved instead: look at
        `decision.model`.
        """
        refusal = preflight.refuse_early(request, self._context, self.retry_after_ms(request.model, now))
        if refusal is not None:
            return refusal
        found = self.choose_and_reserve(request, now)
        if found.reservation is not None:
            return Dispatch(found)
        if request.previous_build is not None:
            previous = structs.replace(request, model=request.previous_build, previous_build=None)
            if preflight.refuse_early(previous, self._context, 0) is None:
                switched = self.choose_and_reserve(previous, now)
                if switched.reservation is not None:
                    return Dispatch(switched)
        return preflight.judge(
            request,
            found,
            sessions=tuple(self._index.sessions(request.model)),
            owned=preflight.owned_sessions(self._sessions.values(), request.account_id),
            context=self._context,
            retry_ms=self.retry_after_ms(request.model, now),
            now=now,
        )

    def retry_after_ms(self, model: str, now: float) -> int:
        """Milliseconds a refused client of this model should wait."""
        return retry_after_ms(
            self._room.depth(model),
            releases_per_second=self._releases_per_second(model, now),
            route_latency_ms=self._route_latency_ms or 0.0,
            random=self._random,
        )

    def note_route_latency(self, milliseconds: float) -> None:
        """Feed the mean latency of first-attempt routing; slow routing lengthens Retry-After."""
        self._route_latency_ms = ewma(self._route_latency_ms, milliseconds, ROUTE_LATENCY_ALPHA)

    # Queue

    def enqueue(
        self, request: RoutedRequest, verdict: Decision, *, now: float, wake: Callable[[], None]
    ) -> Waiter | QueueFailure:
        """Append a request that `decide` told to wait; call it without a checkpoint in between."""
        return self._room.enqueue(
            request,
            decision=verdict,
            now=now,
            wake=wake,
            releases_per_second=self._releases_per_second(request.model, now),
        )

    def abandon(self, waiter: Waiter) -> None:
        """End a waiter; an assigned reservation that was not taken is released. Idempotent."""
        self._room.abandon(waiter)

    def queue_refusal(self, request: RoutedRequest, failure: QueueFailure, verdict: Decision, now: float) -> Refusal:
        """Turn a queue outcome into the client's answer."""
        return preflight.queue_refusal(request, failure, verdict, self.retry_after_ms(request.model, now))

    def queue_depth(self, model: str) -> int:
        """Waiters of a model."""
        return self._room.depth(model)

    def queued_models(self) -> tuple[str, ...]:
        """Models with at least one waiter."""
        return self._room.models()

    def queue_oldest_age(self, model: str, now: float) -> float:
        """Seconds that the oldest waiter of a model has waited."""
        return self._room.oldest_age(model, now)

    def _place(self, session: Session, request: RoutedRequest, ignore_health: bool, now: float) -> Reservation | Reason:
        context = self._context.without_health() if ignore_health else self._context
        placed = commit(session, request, context, now, self._on_release)
        if isinstance(placed, Reservation):
            placed.on_content = self._on_content
        return placed

    # Catalogue

    def set_catalog(self, entries: Iterable[CatalogEntry] | None, now: float) -> None:
        """Replace the catalogue; offered models are judged anew and waiters of removed ones fail with 404."""
        self._use_catalog(Catalog(entries, is_offered=self._is_offered))
        for session in self._sessions.values():
            accepted = intake.accepted_models(session.caps.offered, self._catalog)
            self._note_advertised(session)
            for model in session.caps.models:
                if model not in accepted and not self._catalog.knows(model):
                    self._room.fail_model(model, QueueFailure.MODEL_REMOVED)
            self._replace_caps(session, structs.replace(session.caps, models=accepted))
        for session in self._sessions.values():
            self._room.drain(session, now)

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

    # Ends of reservations

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
            self._note_release(reservation.model, at)
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

    def _note_release(self, model: str, now: float) -> None:
        rate = self._release_rates.get(model)
        if rate is None:
            if len(self._release_rates) >= RELEASE_RATES_MAX:
                del self._release_rates[next(iter(self._release_rates))]
            rate = self._release_rates[model] = ReleaseRate()
        rate.note(now)

    def _releases_per_second(self, model: str, now: float) -> float | None:
        rate = self._release_rates.get(model)
        return rate.rate(now) if rate is not None else None

    def _known(self, session_id: str, what: str) -> Session | None:
        session = self._sessions.get(session_id)
        if session is None:
            log.warning("unknown_session", extra={"session_id": session_id, "what": what})
        return session


def _residency(slots: Mapping[str, Slot]) -> set[str]:
    return {model for model, slot in slots.items() if slot.state is SlotState.RESIDENT}
