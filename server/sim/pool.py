"""The controllers of warm machines in virtual time: the real ones, ticked by the calendar, their orders sent on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from server.pool import PoolPolicy, WarmPool, plan_swaps

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.registry import Registry
    from server.sim.kernel import Kernel, Timer

LEAST_PAUSE: Final = 1.0
"""Between two rounds, however much happens (seconds)."""


class PoolTicker:
    """Rounds at the policy's interval, and sooner after any sign of a shortage; `calendar` dates times of the run."""

    def __init__(
        self, kernel: Kernel, registry: Registry, policy: PoolPolicy, calendar: Callable[[float], float]
    ) -> None:
        self._kernel = kernel
        self._registry = registry
        self._policy = policy
        self._warm_pool = WarmPool(policy, registry, lambda: calendar(kernel.now))
        self._last = kernel.now
        self._due = kernel.now + policy.interval
        self._next: Timer = kernel.at(self._due, self._round)
        registry.demand.on_note = self._wake

    def _wake(self) -> None:
        due = max(self._kernel.now, self._last + LEAST_PAUSE)
        if due < self._due:
            self._plan(due)

    def _plan(self, due: float) -> None:
        self._next.cancel()
        self._due = due
        self._next = self._kernel.at(due, self._round)

    def _round(self) -> None:
        now = self._last = self._kernel.now
        registry = self._registry
        orders = self._warm_pool.tick(now).orders if self._policy.enabled else plan_swaps(registry, now)
        for session, model, cause in orders:
            if registry.request_load(session.session_id, model, cause, now):
                session.channel.load_model(model)
        self._plan(now + self._policy.interval)
