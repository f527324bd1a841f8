"""What providers and trust tell the registry: who comes, what they report, what changed, and who is gone.

Invariant: after `disconnect` no index, ledger, load or session map names the session.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from msgspec import structs

from server.registry import intake, loads
from server.registry.catalog import Catalog
from server.registry.fleet import Fleet
from server.registry.ledger import ReleaseCause
from server.registry.preflight import is_served
from server.registry.queue import QueueFailure
from server.registry.report import apply_report, has_same_figures, is_repeated
from server.registry.state import Caps, Ident, Live, LoadCause, Session, SlotState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from protocol.messages.from_provider import Heartbeat, LoadModelStatus, ModelsUpdate, Register
    from server.ports import ProviderChannel, TrustState
    from server.registry.catalog import CatalogEntry
    from server.registry.ledger import Reservation
    from server.registry.state import Slot

log = logging.getLogger(__name__)


class Membership(Fleet):
    """The writers of sessions, each for the part of the record that is its own."""

    _epoch = 0
    """Sessions registered so far."""
    on_load: Callable[[Session, str, loads.LoadOutcome], None] | None = None
    """Told of every answer to a load that this coordinator asked for."""

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
        self._roster.enter(session)
        self.faults.version_changed(stable_id, session.caps.version, now)
        self._index.add(session, now)
        self._note_advertised(session)
        self._room.drain(session, now)
        return session

    def models_update(self, session_id: str, message: ModelsUpdate, now: float) -> bool:
        """Replace the offered models; False for an unknown session."""
        session = self._known(session_id, "models_update")
        if session is None:
            return False
        self._replace_caps(session, intake.caps_from_update(session.caps, message, self._catalog), now)
        self._room.drain(session, now)
        return True

    def _replace_caps(self, session: Session, caps: Caps, now: float) -> None:
        """Follow a change of the accepted models in slots, index and queues."""
        session.caps = caps
        session.slots = {model: slot for model, slot in session.slots.items() if model in caps.models}
        session.reported = None
        session.touch_slow()
        for model in self._index.replace(session, now):
            self._room.fail_model(model, QueueFailure.NO_PROVIDER)
        self._note_advertised(session)

    def heartbeat(self, session_id: str, message: Heartbeat, now: float) -> bool:
        """Apply one heartbeat and offer the session's room to waiters; False for an unknown session."""
        session = self._known(session_id, "heartbeat")
        if session is None:
            return False
        if session.ident.stable_id in self.faults.silent:
            self.faults.heard(session.ident.stable_id, now)
        if is_repeated(message, session.live):
            session.live = structs.replace(session.live, last_heartbeat=now)
            return True
        was = session.live
        before = apply_report(session, message, draining_expiry=self.policy.draining_expiry, now=now)
        ledger = session.ledger
        reflected = session.live.has_capacity and bool(ledger.entries or ledger.ended) and ledger.reflect(now)
        self._tell_clamps(session, now)
        changed = session.slots is not before
        if not changed and not reflected and has_same_figures(was, session.live):
            self._room.drain(session, now)
            return True
        if changed and session.live.has_capacity:
            self.rates.feed(session, before)
        left = was.draining_until != session.live.draining_until
        if left or (changed and _residency(before) != _residency(session.slots)):
            session.touch_slow()
        else:
            session.touch()
        if changed or reflected:
            self._index.refresh(session, now, reported=True, rates=changed)
        else:
            self._index.follow_figures(session, now)
        self._room.drain(session, now)
        return True

    def _tell_clamps(self, session: Session, now: float) -> None:
        """Let fault memory know what a machine reports of models whose room counts as none."""
        for model, entry in session.entries.items():
            if entry.faults.clamped:
                budget = session.slot(model).budget
                free = 0 if budget is None else budget.max - budget.used - budget.queued
                self.faults.reported(session.ident.stable_id, model, free, now)

    def set_trust(self, session_id: str, trust: TrustState, now: float) -> bool:
        """Replace the trust part; a session that became eligible serves waiters at once. False for an unknown one."""
        session = self._known(session_id, "set_trust")
        if session is None:
            return False
        was_trusted, before = self._is_trusted(session), session.trust
        session.trust = trust
        self._note_check(session, before)
        for model, confirmed in trust.model_hashes.items():
            if confirmed == self._catalog.expected_hash(model):
                session.content_since.pop(model, None)
        session.touch_slow()
        self._index.refresh(session, now)
        if not was_trusted:
            self._note_advertised(session)
        self._room.drain(session, now)
        return True

    def _note_check(self, session: Session, before: TrustState) -> None:
        """Remember a security check of a machine that has proved who it is."""
        trust, stable_id = session.trust, session.ident.stable_id
        if stable_id == session.session_id or not (trust.admitted or before.admitted):
            return
        if trust.untrusted is not None and before.untrusted is None:
            self.machines.checked(stable_id, passed=False)
        elif trust.verified_at is not None and trust.verified_at != before.verified_at:
            self.machines.checked(stable_id, passed=True)

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
        self._roster.leave(session, ident)
        session.ident = structs.replace(
            ident,
            stable_id=stable_id if stable_id is not None else ident.stable_id,
            account_id=account_id if account_id is not None else ident.account_id,
            serials=serials if serials is not None else ident.serials,
        )
        session.restoring = False
        self._roster.enter(session)
        session.touch_slow()
        self._index.refresh(session, now)
        self._room.drain(session, now)
        return True

    def unlink(self, session_id: str) -> None:
        """Take a session's account away: its token was revoked. Requests that run keep the owner they were sent to."""
        session = self._sessions.get(session_id)
        if session is not None:
            self._roster.leave(session, session.ident)
            session.ident = structs.replace(session.ident, account_id=None)
            self._roster.enter(session)
            session.touch_slow()
            self._index.refresh(session, self._clock())

    def mark_draining(self, session_id: str, now: float) -> None:
        """Stop sending work to a provider that said so; its next ordinary heartbeat ends this."""
        session = self._sessions.get(session_id)
        if session is not None:
            session.live = structs.replace(session.live, draining_until=now + self.policy.draining_expiry)
            session.touch_slow()
            self._index.refresh(session, now)

    def mark_offline(self, session_id: str) -> None:
        """Stop sending work to a session whose connection is broken; its teardown is on the way."""
        session = self._sessions.get(session_id)
        if session is not None and session.connected:
            session.connected = False
            session.touch_slow()
            self._index.refresh(session, self._clock())

    def disconnect(self, session_id: str, now: float, *, graceful: bool) -> tuple[Reservation, ...]:
        """Forget a session: release its ledger, leave every index, fail waiters that nobody can serve any more.

        Idempotent. Returns the reservations that were open. Attempts hear of it through the provider link.
        """
        session = self._sessions.pop(session_id, None)
        if session is None:
            return ()
        session.connected = False
        self.faults.lost(session.ident.stable_id, now)
        self.machines.left(session)
        orphaned = self._index.remove(session)
        self._roster.leave(session, session.ident)
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
        for model in session.caps.models:
            if self._room.depth(model):
                self._room.fail_incapable(model, partial(is_served, pool=self.pool(model)))
        return open_reservations

    # Model loads

    def request_load(self, session_id: str, model: str, cause: LoadCause, now: float) -> bool:
        """Note that `load_model` is about to be sent; False when a load is pending, cooling down or impossible."""
        session = self._sessions.get(session_id)
        if session is None or not loads.request(session, model, cause, now):
            return False
        session.touch()
        self._index.refresh(session, now)
        return True

    def load_model_status(self, session_id: str, message: LoadModelStatus, now: float) -> loads.LoadOutcome:
        """Apply the progress of a load that this coordinator asked for; anything else is ignored with a warning."""
        session = self._known(session_id, "load_model_status")
        if session is None:
            return loads.LoadOutcome.IGNORED
        outcome = loads.apply_status(session, message.model_id, message.status, now, durations=self.load_durations)
        if outcome is loads.LoadOutcome.IGNORED:
            log.warning("load_status_unsolicited", extra={"session_id": session_id})
        elif outcome is loads.LoadOutcome.SUCCEEDED:
            session.touch_slow()
            self._index.refresh(session, now)
            self._room.drain(session, now)
        else:
            session.touch()
            self._index.refresh(session, now)
        if self.on_load is not None:
            self.on_load(session, message.model_id, outcome)
        return outcome

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
            self._replace_caps(session, structs.replace(session.caps, models=accepted), now)
        for session in self._sessions.values():
            self._room.drain(session, now)

    def _known(self, session_id: str, what: str) -> Session | None:
        session = self._sessions.get(session_id)
        if session is None:
            log.warning("unknown_session", extra={"session_id": session_id, "what": what})
        return session


def _residency(slots: Mapping[str, Slot]) -> set[str]:
    return {model for model, slot in slots.items() if slot.state is SlotState.RESIDENT}
