"""One attempt at one machine: the relay's reducer, driven by the events of the simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.failure import accepted_timeout, first_content_timeout
from server.relay.attempt_state import BEFORE_COMMIT, TERMINAL, Effect, Event, Phase, advance

if TYPE_CHECKING:
    from protocol.failure import AttemptFailure
    from server.registry.ledger import Reservation
    from server.registry.state import Session
    from server.relay.clocks import ContentClock
    from server.sim.call import Call
    from server.sim.coordinator import Coordinator
    from server.sim.kernel import Timer
    from server.sim.provider import Provider
    from server.sim.work import Work


class SimAttempt:
    """Hears its machine, releases, cancels, and tells its call how it ended."""

    __slots__ = (
        "_coordinator",
        "_timer",
        "accepted",
        "call",
        "clock",
        "failure",
        "is_backup",
        "phase",
        "provider",
        "request_id",
        "reservation",
        "session",
        "session_id",
        "started_at",
        "work",
    )

    def __init__(
        self,
        coordinator: Coordinator,
        call: Call,
        reservation: Reservation,
        session: Session,
        clock: ContentClock,
        *,
        is_backup: bool,
    ) -> None:
        self.call = call
        self.clock = clock
        self.is_backup = is_backup
        self.reservation = reservation
        self.session = session
        self.session_id = reservation.session_id
        self.request_id = reservation.request_id
        self.provider: Provider = coordinator.provider(self.session_id)
        self.started_at = coordinator.kernel.now
        self.phase = Phase.RESERVED
        self.failure: AttemptFailure | None = None
        self.accepted = False
        self.work: Work | None = None
        self._coordinator = coordinator
        self._timer: Timer | None = None

    @property
    def pending(self) -> bool:
        """Whether content may still come."""
        return self.phase in BEFORE_COMMIT

    def send(self) -> None:
        """Write the request and start its clock."""
        self._coordinator.attach(self)
        self._watch()
        self.reservation.mark_sent()
        self.apply(Event.SENT)
        self.work = self.call.work(self)
        self.provider.submit(self.work)

    def lose(self) -> None:
        """A rival of the same call was first with content."""
        if self.work is not None:
            self.work.lost = True
        self.apply(Event.LOST)

    def _watch(self) -> None:
        kernel = self._coordinator.kernel
        self._timer = kernel.at(self.clock.deadline, self._clock)

    def _clock(self) -> None:
        """The deadline passed, unless it moved meanwhile."""
        if not self.pending:
            return
        if self._coordinator.kernel.now < self.clock.deadline:
            self._watch()
            return
        self.failure = accepted_timeout() if self.accepted else first_content_timeout()
        self.apply(Event.CLOCK)

    # The machine's side

    def on_accepted(self) -> None:
        """The machine said that it first loads the model; it takes a moment to arrive."""
        self._coordinator.kernel.after(self.provider.latency, self._on_accepted)

    def on_content(self) -> None:
        """The first token is on its way."""
        self._coordinator.kernel.after(self.provider.latency, self._on_content)

    def on_complete(self, tokens: int) -> None:
        """The last word is on its way."""
        self._coordinator.kernel.after(self.provider.latency, self._on_complete, tokens)

    def on_error(self, failure: AttemptFailure) -> None:
        """The machine's refusal, or the end of its connection, has arrived."""
        if self.phase is not Phase.DONE:
            self.failure = failure
        self.apply(Event.FAILED)

    def _on_accepted(self) -> None:
        if not self.pending:
            return
        now = self._coordinator.kernel.now
        self.reservation.mark_accepted(now)
        if self.reservation.cold and not self.accepted:
            self.accepted = True
            self.clock.accepted(now)
        self.apply(Event.ACCEPTED)

    def _on_content(self) -> None:
        if not self.pending:
            return
        self.reservation.mark_streaming(self._coordinator.kernel.now)
        self.apply(Event.CONTENT)

    def _on_complete(self, tokens: int) -> None:
        if self.phase in (Phase.COMMITTED, Phase.PARKED) or self.pending:
            self.call.tokens = tokens
        self.apply(Event.COMPLETED)

    # The reducer

    def apply(self, event: Event) -> None:
        """Advance and perform the effects, in their order; the call hears of the terminal one."""
        self.phase, effects = advance(self.phase, event)
        terminal: Effect | None = None
        for effect in effects:
            match effect:
                case Effect.COMMIT:
                    self.call.committed(self)
                case Effect.RELEASE:
                    self.reservation.release(self._coordinator.kernel.now)
                case Effect.DETACH:
                    self._coordinator.detach(self)
                case Effect.CANCEL:
                    self.provider.cancel(self.request_id)
                case _ if effect in TERMINAL:
                    terminal = effect
                case _:
                    pass
        if terminal is not None:
            if self._timer is not None:
                self._timer.cancel()
            self._coordinator.detach(self)
            self.call.ended(self, terminal)
