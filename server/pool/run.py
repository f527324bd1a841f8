"""Runs the controllers: ticks them, notes what they order, and sends it to the providers.

Owner: one supervised task. A request that waits, and every other sign of a shortage, brings the next round forward;
rounds are a second apart at least.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import trio

from server.pool.candidates import cold_machines
from server.pool.swap_planner import LoadOrder, has_warm, plan_swaps
from server.pool.warm_pool import PoolPolicy, PoolSnapshot, WarmPool, equal_price
from server.registry.loads import LoadOutcome
from server.registry.queue import QueueFailure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeAlias

    from server.registry import Registry
    from server.registry.state import Session

    Prices: TypeAlias = Callable[[str], float]

log = logging.getLogger("darkbloom.pool")

LEAST_PAUSE: Final = 1.0
"""Between two rounds, however much happens."""
PRICES_WAIT: Final = 1.0
"""For the prices of models; a round does without them when the database is slower."""


class PoolRunner:
    """The controllers over the live registry; `snapshots` are those of the last round.

    `read_prices` gives what the output of each model costs; without it all models count the same.
    """

    def __init__(
        self, registry: Registry, policy: PoolPolicy, read_prices: Callable[[], Awaitable[Prices]] | None = None
    ) -> None:
        self._registry = registry
        self._policy = policy
        self._read_prices = read_prices
        self._price: Prices = equal_price
        self._woken = trio.Event()
        self.warm_pool = WarmPool(policy, registry)
        self.snapshots: tuple[PoolSnapshot, ...] = ()
        registry.on_load = self.load_answered
        registry.demand.on_note = self.wake

    async def run(self) -> None:
        """Tick until cancelled."""
        pause = min(LEAST_PAUSE, self._policy.interval)
        while True:
            self._woken = trio.Event()
            await self._look_at_prices()
            self.round(trio.current_time())
            await trio.sleep(pause)
            with trio.move_on_after(self._policy.interval - pause):
                await self._woken.wait()

    def round(self, now: float) -> list[LoadOrder]:
        """One round of the controller in charge; returns what was sent."""
        if self._policy.enabled:
            done = self.warm_pool.tick(now, self._price)
            self.snapshots = done.snapshots
            orders = list(done.orders)
        else:
            orders = plan_swaps(self._registry, now)
        return [order for order in orders if self._send(order, now)]

    def wake(self) -> None:
        """Have the next round soon."""
        self._woken.set()

    def load_answered(self, session: Session, model: str, outcome: LoadOutcome) -> None:
        """Tell the controller; fail those who wait for a model whose load failed if nobody else can serve it."""
        self.warm_pool.load_answered(session, model, outcome)
        if outcome is not LoadOutcome.FAILED:
            return
        registry, now = self._registry, trio.current_time()
        log.info("load_failed", extra={"session_id": session.session_id, "model": model})
        if has_warm(model, registry.offering(model), registry.gate_context, now):
            return
        if not cold_machines(registry, model, now).machines:
            registry.fail_waiting(model, QueueFailure.NO_PROVIDER)

    async def _look_at_prices(self) -> None:
        if self._read_prices is not None:
            with trio.move_on_after(PRICES_WAIT):
                self._price = await self._read_prices()

    def _send(self, order: LoadOrder, now: float) -> bool:
        session, model = order.session, order.model
        if not self._registry.request_load(session.session_id, model, order.cause, now):
            return False
        session.channel.load_model(model)
        log.info("load_ordered", extra={"session_id": session.session_id, "model": model, "cause": order.cause.value})
        return True
