"""The relay: takes checked requests, finds providers for them, and gives back streams, answers or errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from server.relay.patience import Patience
from server.relay.request_run import RequestRun

if TYPE_CHECKING:
    from server.relay.job import RelayJob, RelayOutcome
    from server.relay.services import RelayServices


class InferenceRelay:
    """Start `serve` in a nursery that outlives the listener, then call `run` from each consumer's task."""

    def __init__(self, services: RelayServices) -> None:
        self._services = services
        self._patience = Patience(services.times.answer_waits_for_settlement, services.clock)
        self._nursery: trio.Nursery | None = None
        self._active = 0

    @property
    def active(self) -> int:
        """Requests that are not over: routed, streaming, parked, or being settled."""
        return self._active

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the tasks of all requests until cancelled.

        On cancellation every request that is left is cut, its client is told, and its settlement still runs, shielded,
        for the settle limit at most.
        """
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            try:
                await self._patience.run()
            finally:
                self._nursery = None

    async def run(self, job: RelayJob) -> RelayOutcome:
        """Serve one job; returns as soon as the consumer's side knows how to go on.

        Cancelled, it frees the capacity and cancels the provider at once; settlement runs on in the relay's own tasks.
        Raises RuntimeError when the relay does not serve.
        """
        if self._nursery is None:
            raise RuntimeError("The relay is not serving; start serve() first.")
        request = RequestRun(self._services, self._patience, job)
        self._active += 1
        self._nursery.start_soon(self._run, request)
        outcome: RelayOutcome | None = None
        try:
            await request.decided.wait()
            outcome = request.outcome
        finally:
            if outcome is None:
                request.consumer_left()
        if outcome is None:
            raise AssertionError("A decided request has an outcome.")
        return outcome

    async def _run(self, request: RequestRun) -> None:
        try:
            await request.run()
        finally:
            self._active -= 1
