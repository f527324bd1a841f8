"""The coordinator of a simulation: the real registry, and the relay's decisions over it, without its sockets and tasks.

Everything that decides is the coordinator's own code: `Registry` (gates, cost, choice, reservation, queue, faults,
Retry-After), `advance` (life of an attempt), `FirstContentClock`, `RequestHistory`, `classify`. This file only moves
events between them and the machines, as the relay's tasks do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.relay.clocks import RelayTimes
from server.relay.history import AttemptLimits
from server.relay.outcomes import OutcomeRecorder
from server.sim.call import Call

if TYPE_CHECKING:
    from protocol.failure import AttemptFailure
    from server.registry import Registry
    from server.relay.services import Hedging
    from server.sim.attempt import SimAttempt
    from server.sim.call import Ask
    from server.sim.journal import Journal
    from server.sim.kernel import Kernel
    from server.sim.provider import Provider
    from server.sim.tally import Tally


class Coordinator:
    """Connections by session, and what every call shares."""

    def __init__(
        self,
        kernel: Kernel,
        registry: Registry,
        journal: Journal,
        tally: Tally,
        *,
        times: RelayTimes | None = None,
        limits: AttemptLimits | None = None,
        hedging: Hedging | None = None,
    ) -> None:
        self.kernel = kernel
        self.registry = registry
        self.journal = journal
        self.tally = tally
        self.times = times if times is not None else RelayTimes()
        self.limits = limits if limits is not None else AttemptLimits()
        self.hedging = hedging
        self.outcomes = OutcomeRecorder(registry)
        self._providers: dict[str, Provider] = {}
        self._attempts: dict[str, dict[str, SimAttempt]] = {}
        self._calls = 0

    def submit(self, ask: Ask) -> Call:
        """Take one HTTP request; what becomes of it is told to `ask`."""
        self._calls += 1
        call = Call(self, ask, self._calls)
        call.start()
        return call

    # Connections

    def connected(self, session_id: str, provider: Provider) -> None:
        """A session was registered."""
        self._providers[session_id] = provider
        self._attempts[session_id] = {}

    def disconnected(self, session_id: str, failure: AttemptFailure) -> None:
        """A session is gone: its attempts fail."""
        self._providers.pop(session_id, None)
        for attempt in list(self._attempts.pop(session_id, {}).values()):
            attempt.on_error(failure)

    def supersede(self, provider: Provider, session_id: str) -> None:
        """The machine proved itself on this session: its older ones end."""
        for older, owner in list(self._providers.items()):
            if owner is provider and older != session_id:
                provider.replaced(older)

    def provider(self, session_id: str) -> Provider:
        """The machine behind a session."""
        return self._providers[session_id]

    def attach(self, attempt: SimAttempt) -> None:
        """Enter an attempt in the table of its connection."""
        self._attempts[attempt.session_id][attempt.request_id] = attempt

    def detach(self, attempt: SimAttempt) -> None:
        """Take an attempt out of the table of its connection."""
        table = self._attempts.get(attempt.session_id)
        if table is not None:
            table.pop(attempt.request_id, None)
