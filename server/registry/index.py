"""The routing index: one pool per model, kept up with every change of a session and with the passing of time.

Invariant: a session has an entry in exactly the pools of its `caps.models`, and nowhere after it was removed.
Invariant: after `advance(now)` no entry says what `now` has made untrue.
"""

from __future__ import annotations

import math
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final

from server.registry.cost import health_us
from server.registry.entry import Entry, Machine
from server.registry.pool import Pool
from server.registry.views import total_memory_gb

if TYPE_CHECKING:
    from collections.abc import Iterable

    from server.registry.gates import GateContext
    from server.registry.state import ModelAd, Session


_FLIPS_SLACK: Final = 1_024


class RoutingIndex:
    """Pools by model id; `context` is what gates and prices share at present, set before the first session comes."""

    context: GateContext

    def __init__(self) -> None:
        self._pools: dict[str, Pool] = {}
        self._flips: list[tuple[float, int, str]] = []
        """When an entry must be judged again, by epoch and model; what is outdated is skipped."""
        self._entries = 0

    def pool(self, model: str) -> Pool | None:
        """Return the pool of a model; None when nobody offers it."""
        return self._pools.get(model)

    def sessions(self, model: str) -> list[Session]:
        """Return the sessions that offer a model. This is a walk: not for the way of a request."""
        pool = self._pools.get(model)
        return pool.sessions() if pool is not None else []

    def pools(self) -> Iterable[Pool]:
        """All pools."""
        return self._pools.values()

    def models(self) -> Iterable[str]:
        """Models that somebody offers."""
        return self._pools

    def add(self, session: Session, now: float) -> None:
        """Enter a session in the pools of its models."""
        for model, ad in session.caps.models.items():
            entry = session.entries.get(model)
            if entry is not None and entry.ad is ad:
                continue
            if entry is not None:
                self._drop(entry)
            self._enter(session, ad)
        self.refresh(session, now, reported=True, rates=True)

    def _enter(self, session: Session, ad: ModelAd) -> None:
        entry = session.entries[ad.id] = Entry(session, ad)
        pool = self._pools.get(ad.id)
        if pool is None:
            pool = self._pools[ad.id] = Pool(ad.id)
        pool.enter(entry)
        self._entries += 1

    def remove(self, session: Session) -> tuple[str, ...]:
        """Take a session out of all pools; returns the models that nobody offers any more."""
        return self._remove(list(session.entries.values()))

    def replace(self, session: Session, now: float) -> tuple[str, ...]:
        """Follow a change of the session's models; returns the models that nobody offers any more."""
        orphaned = self._remove([entry for model, entry in session.entries.items() if model not in session.caps.models])
        self.add(session, now)
        return orphaned

    def _remove(self, entries: Iterable[Entry]) -> tuple[str, ...]:
        orphaned = []
        for entry in entries:
            self._drop(entry)
            pool = self._pools[entry.model]
            if not pool.members:
                del self._pools[entry.model]
                orphaned.append(entry.model)
        return tuple(orphaned)

    def _drop(self, entry: Entry) -> None:
        session = entry.session
        pool = self._pools[entry.model]
        pool.leave(entry)
        self._entries -= 1
        pool.admitted -= entry.admitted
        del session.entries[entry.model]
        session.speeds.pop(entry.model, None)

    def refresh(self, session: Session, now: float, *, reported: bool = False, rates: bool = False) -> None:
        """Follow a change of the session.

        `reported`: its report changed, or who it is; without it only the ledger did. `rates` takes the fleet's present
        rates for it as well.
        """
        context = self.context
        machine = session.machine
        if machine is None:
            machine = session.machine = Machine()
        slow_version, basis, version = session.slow_version, context.basis, session.version
        machine.load(session)
        if reported or machine.version != slow_version:
            reported = True
            machine.version = slow_version
            machine.report(session)
        for model, entry in session.entries.items():
            if entry.slow_version != slow_version or entry.basis is not basis:
                self._judge(entry, context, now)
                entry.report(machine, context, rates=rates)
            elif reported:
                entry.report(machine, context, rates=rates)
            entry.load(machine, context)
            entry.version = version
            self._pools[model].settle(entry, context)

    def follow_figures(self, session: Session, now: float) -> None:
        """Follow a report that says the same of all slots and requests: only figures of the whole machine changed."""
        machine, slow_version, basis = session.machine, session.slow_version, self.context.basis
        memory = total_memory_gb(session)
        if machine is None or machine.version != slow_version or machine.memory != memory:
            self.refresh(session, now, reported=True)
            return
        health = machine.health = health_us(session.live, memory)
        version = session.version
        for model, entry in session.entries.items():
            if entry.slow_version != slow_version or entry.basis is not basis or not entry.follow_health(health):
                self.refresh(session, now, reported=True)
                return
            entry.version = version
            self._pools[model].reprice(entry)

    def follow_start(self, session: Session, model: str) -> None:
        """Follow a first content: its prompt no longer stands in the way of others, and nothing else changed."""
        version = session.version
        for name, entry in session.entries.items():
            entry.version = version
            if name == model and entry.follow_start():
                self._pools[name].reprice(entry)

    def _judge(self, entry: Entry, context: GateContext, now: float) -> None:
        entry.judge(context, now)
        admitted = entry.session.trust.admitted
        pool = self._pools[entry.model]
        pool.admitted += admitted - entry.admitted
        entry.admitted = admitted
        pool.forget_empty_kinds()
        flip = entry.flip_at
        if flip < entry.queued_flip:
            entry.queued_flip = flip
            heappush(self._flips, (flip, entry.epoch, entry.model))
            if len(self._flips) > 4 * self._entries + _FLIPS_SLACK:
                self._drop_old_flips()

    def _drop_old_flips(self) -> None:
        """Rebuild the heap from what the entries wait for: those that left long ago are no longer in it."""
        self._flips = [
            (entry.queued_flip, epoch, pool.model)
            for pool in self._pools.values()
            for epoch, entry in pool.members.items()
            if not math.isinf(entry.queued_flip)
        ]
        heapify(self._flips)

    def advance(self, now: float) -> None:
        """Judge again whoever time alone has changed since the last call."""
        flips = self._flips
        while flips and flips[0][0] <= now:
            _, epoch, model = heappop(flips)
            pool = self._pools.get(model)
            entry = pool.members.get(epoch) if pool is not None else None
            if pool is None or entry is None or entry.queued_flip > now:
                continue
            entry.queued_flip = math.inf
            context = self.context
            if entry.flip_at > now:
                entry.queued_flip = entry.flip_at
                heappush(flips, (entry.flip_at, epoch, model))
                continue
            self._judge(entry, context, now)
            machine = entry.session.machine
            if machine is not None:
                entry.report(machine, context, rates=False)
                entry.load(machine, context)
                pool.settle(entry, context)
