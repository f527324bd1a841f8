"""The registry: the decisions over all sessions, as a thin shell around the pure routing functions.

Invariant: every method is synchronous and free of checkpoints, so no lock is needed and nothing is ever half done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from server.registry import preflight
from server.registry.decision import Decision, Dispatch, Refusal, Verdict
from server.registry.membership import Membership
from server.registry.request import SelfRoute
from server.registry.reserve import looked
from server.registry.walk import scan
from server.registry.why import explain_machine

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.registry.queue import QueueFailure, Waiter
    from server.registry.request import RoutedRequest
    from server.registry.state import Session
    from server.registry.why import MachineWhy


class Registry(Membership):
    """All live provider sessions and the decisions over them; `now` is the monotonic clock in seconds."""

    # Decisions

    def choose_and_reserve(self, request: RoutedRequest, now: float) -> Decision:
        """Pick the best provider and reserve it in one synchronous step; see `Decision` for why there is none."""
        rivals = self._chooser.rivals(request, self._context, now) if request.explain else ()
        found = self._chooser.choose(request, self._context, now)
        if found.reservation is not None:
            found.reservation.on_content = self._on_content
        self.traces.decided(request, found, rivals)
        return found

    def look(self, request: RoutedRequest, now: float) -> Decision:
        """Run the same gates without reserving anything. This walks over the providers of the model."""
        return looked(scan(self._index.sessions(request.model), request, self._context, now), request)

    def decide(self, request: RoutedRequest, now: float) -> Verdict:
        """Dispatch (reserved), enqueue or refuse a new request.

        When the build has no place and the alias has a previous build with one, that is reserved instead: look at
        `decision.model`.
        """
        refusal = preflight.refuse_early(request, self._context, lambda: self.retry_after_ms(request.model, now))
        if refusal is not None:
            return refusal
        found = self.choose_and_reserve(request, now)
        if found.reservation is not None:
            return Dispatch(found)
        if request.previous_build is not None:
            previous = structs.replace(request, model=request.previous_build, previous_build=None)
            if preflight.refuse_early(previous, self._context, lambda: 0) is None:
                switched = self.choose_and_reserve(previous, now)
                if switched.reservation is not None:
                    return Dispatch(switched)
        exclusive = request.self_route is SelfRoute.EXCLUSIVE
        return preflight.judge(
            request,
            found,
            pool=self.pool(request.model),
            owned=self.owned(request.account_id) if exclusive else (),
            context=self._context,
            retry_ms=self.retry_after_ms(request.model, now),
        )

    def explain(self, session: Session, now: float) -> MachineWhy:
        """Say why a machine gets work, or does not."""
        stable_id = session.ident.stable_id
        events, record = self.faults.events(stable_id), self.machines.get(stable_id)
        return explain_machine(session, self._context, now, events=events, record=record)

    def retry_after_ms(self, model: str, now: float) -> int:
        """Milliseconds a refused client of this model should wait."""
        return self._pace.retry_after_ms(model, self._room.depth(model), now)

    def note_route_latency(self, milliseconds: float) -> None:
        """Feed the mean latency of first-attempt routing; slow routing lengthens Retry-After."""
        self._pace.note_route_latency(milliseconds)

    # Queue

    def enqueue(
        self, request: RoutedRequest, verdict: Decision, *, now: float, wake: Callable[[], None]
    ) -> Waiter | QueueFailure:
        """Append a request that `decide` told to wait; call it without a checkpoint in between."""
        self.demand.waits(request.model, now)
        return self._room.enqueue(
            request,
            decision=verdict,
            now=now,
            wake=wake,
            releases_per_second=self._pace.releases_per_second(request.model, now),
        )

    def abandon(self, waiter: Waiter) -> None:
        """End a waiter; an assigned reservation that was not taken is released. Idempotent."""
        self._room.abandon(waiter)

    def fail_waiting(self, model: str, failure: QueueFailure) -> int:
        """Fail the waiters of a model; those who would rather have their own machine wait on."""
        return self._room.fail_model(model, failure, sparing_owners=True)

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
