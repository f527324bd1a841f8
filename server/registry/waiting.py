"""The waiting task's side of the queue: wait for a provider, and never leave a reservation behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from server.registry.queue import QueueFailure

if TYPE_CHECKING:
    from server.registry.decision import Decision
    from server.registry.ledger import Reservation
    from server.registry.registry import Registry
    from server.registry.request import RoutedRequest


async def wait_in_queue(registry: Registry, request: RoutedRequest, decision: Decision) -> Reservation | QueueFailure:
    """Wait until a provider is reserved for the request, or its wait ends (`queue_max_wait`, or its own deadline).

    The caller owns the returned reservation and must release it. On cancellation the waiter leaves the queue and a
    reservation that it was given meanwhile serves the next waiter. A refusal comes without a checkpoint.
    """
    limit = trio.current_time() + registry.policy.queue_max_wait
    while True:
        woken = trio.Event()
        waiter = registry.enqueue(request, decision, now=trio.current_time(), wake=woken.set)
        if isinstance(waiter, QueueFailure):
            return waiter
        try:
            with trio.move_on_at(min(limit, waiter.expires_at)):
                await woken.wait()
            reservation = waiter.take()
            if reservation is None:
                return waiter.failure or QueueFailure.TIMED_OUT
            if not reservation.released:
                return reservation
        finally:
            registry.abandon(waiter)
        # The provider went away between the assignment and this task's turn: look again.
        decision = registry.choose_and_reserve(request, trio.current_time())
        if decision.reservation is not None:
            return decision.reservation
