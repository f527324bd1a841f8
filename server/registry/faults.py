"""Fault memory: what routing remembers of failures, by stable identity, so that a reconnect does not wash it away.

Invariant: every window is bounded, and an identity without an event for 10 minutes is forgotten by the sweep, unless
a gate of it is still closed.
Owner: the outcome recorder; gates only read through `FaultView`.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Protocol

from server.registry.fault_gates import NEVER, Strikes
from server.registry.fault_state import FaultEvent, MachineFaults, Unheard
from server.registry.pair_faults import NO_FAULTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.registry.pair_faults import PairFaults

LOAD_COOLDOWN: Final = 120.0
ERROR_STATUSES: Final = frozenset({500, 502, 504})
IDLE_FORGET: Final = 600.0
FORGIVE_EVERY: Final = 600.0
IDENTITIES_MAX: Final = 20_000
PAIRS_MAX: Final = 256
"""Models of one identity; nobody honest comes near."""


class FaultView(Protocol):
    """What gates and cost ask; no answer changes another one."""

    def pair(self, stable_id: str, model: str, now: float) -> PairFaults:
        """All that is held against a model on a machine."""

    def probe_taken(self, stable_id: str, model: str, now: float) -> None:
        """The one request that tries a machine after a cooldown was reserved."""


class FaultMemory:
    """The memory of all machines; every recording method names the identity, the model and the moment.

    `on_change` is called with an identity after every event that may alter an answer about it.
    """

    def __init__(self) -> None:
        self._identities: OrderedDict[str, MachineFaults] = OrderedDict()
        self._suspects: set[str] = set()
        """Identities with a closed gate or a refusal in the window, and some whose last one expired."""
        self.silent: set[str] = set()
        """Identities whose misses wait for a verdict."""
        self.on_change: Callable[[str], None] | None = None

    def __len__(self) -> int:
        return len(self._identities)

    # Questions

    def pair(self, stable_id: str, model: str, now: float) -> PairFaults:
        """See FaultView."""
        if stable_id not in self._suspects:
            return NO_FAULTS
        return self._identities[stable_id].view(model, now)

    def events(self, stable_id: str) -> tuple[FaultEvent, ...]:
        """The last things that went wrong with a machine, oldest first."""
        machine = self._identities.get(stable_id)
        return tuple(machine.events) if machine is not None else ()

    # Outcomes

    def load_failed(self, stable_id: str, model: str, now: float) -> None:
        """Note that a load at dispatch time failed: no such dispatch for 2 minutes."""
        machine = self._touch(stable_id, model, now)
        until = machine.of(model).load_until = now + LOAD_COOLDOWN
        machine.events.append(FaultEvent("load_failed", model, now, until))
        self._changed(stable_id, machine, now)

    def error(
        self,
        stable_id: str,
        model: str,
        shape: str,
        status: int,
        now: float,
        *,
        disconnect: bool = False,
        connection: str = "",
    ) -> None:
        """Note a provider fault; `disconnect` when it was nothing but a connection that broke.

        A broken `connection` (a session id) counts once, however many requests it took with it.
        """
        if status not in ERROR_STATUSES:
            return
        machine = self._touch(stable_id, model, now)
        if disconnect and connection:
            if machine.lost_connection == connection:
                return
            machine.lost_connection = connection
        machine.failed(now)
        strikes = machine.of(model).shapes.setdefault(shape, Strikes())
        strikes.strike(now, disconnect=disconnect)
        holds = (strikes.until, machine.breaker.hold.until, machine.ejection.hold.until)
        closed = [until for until in holds if until > now]
        kind = "disconnect" if disconnect else "fault"
        machine.events.append(FaultEvent(kind, model, now, max(closed, default=None)))
        self._changed(stable_id, machine, now)

    def missed(self, stable_id: str, model: str, shape: str, status: int, now: float) -> None:
        """Note a missed deadline of a machine that was not heard of since the dispatch.

        It may sleep, or have lost its network: it gets nothing more, and the verdict waits for `heard`, which makes it
        a fault, or for `lost`, which drops it.
        """
        machine = self._touch(stable_id, model, now)
        machine.unheard.append(Unheard(model, shape, status))
        machine.events.append(FaultEvent("silent", model, now, None))
        self.silent.add(stable_id)
        self._changed(stable_id, machine, now)

    def heard(self, stable_id: str, now: float) -> None:
        """A heartbeat of a machine in `silent`: it was there, so what it missed counts."""
        self.silent.discard(stable_id)
        machine = self._identities.get(stable_id)
        if machine is None:
            return
        missed = tuple(machine.unheard)
        machine.unheard.clear()
        for one in missed:
            self.error(stable_id, one.model, one.shape, one.status, now)
        self._changed(stable_id, machine, now)

    def lost(self, stable_id: str, now: float) -> None:
        """The connection of a machine is gone, or replaced: what it missed in silence was no fault of it."""
        if stable_id not in self.silent:
            return
        self.silent.discard(stable_id)
        machine = self._identities.get(stable_id)
        if machine is not None:
            machine.unheard.clear()
            self._changed(stable_id, machine, now)

    def success(self, stable_id: str, model: str, shape: str, now: float) -> None:
        """Note a completed request: its shape and the model's loads are proven again."""
        if stable_id not in self._identities:
            return
        machine = self._touch(stable_id, model, now)
        machine.succeeded(now)
        pair = machine.pairs.get(model)
        if pair is not None:
            pair.load_until = NEVER
            pair.shapes.pop(shape, None)
        if stable_id in self._suspects:
            self._changed(stable_id, machine, now)

    def accepted(self, stable_id: str, model: str, now: float, *, advertised: int = 0) -> None:
        """Note first content: the provider had room. `advertised` is its token budget for the model, 0 if unknown."""
        machine = self._touch(stable_id, model, now)
        pair = machine.of(model)
        pair.outcomes.add(now, rejected=False)
        pair.black_hole.accepted()
        pair.clamp.accepted()
        pair.ceiling.accepted(advertised)
        machine.rejects_in_row = 0
        if stable_id in self._suspects:
            self._changed(stable_id, machine, now)

    def capacity_rejected(
        self,
        stable_id: str,
        model: str,
        now: float,
        *,
        need: int | None = None,
        committed: int | None = None,
        advertised: int | None = None,
        not_loaded: bool = False,
    ) -> None:
        """Note that the provider refused for lack of room.

        Tokens: of the request, taken on the model by the last report (used and queued), and the budget it reports.
        `not_loaded`: it said that the model is not loaded, which tells nothing of its tokens.
        """
        machine = self._touch(stable_id, model, now)
        pair = machine.of(model)
        machine.refused(now)
        pair.black_hole.rejected(now)
        if not not_loaded:
            pair.outcomes.add(now, rejected=True)
            pair.clamp.engage(now)
            if need is not None and committed is not None and advertised:
                pair.ceiling.rejected(committed, need, advertised, now)
        until = max(pair.black_hole.until, pair.clamp.until)
        machine.events.append(FaultEvent("capacity", model, now, until if until > now else None))
        self._changed(stable_id, machine, now)

    def probe_taken(self, stable_id: str, model: str, now: float) -> None:
        """See FaultView."""
        machine = self._identities.get(stable_id)
        pair = machine.pairs.get(model) if machine is not None else None
        if machine is not None and pair is not None:
            pair.black_hole.reserved(now)
            self._changed(stable_id, machine, now)

    def reported(self, stable_id: str, model: str, free_tokens: int, now: float) -> None:
        """Note the free tokens of a heartbeat of a clamped pair."""
        machine = self._identities.get(stable_id)
        pair = machine.pairs.get(model) if machine is not None else None
        if machine is not None and pair is not None:
            pair.clamp.reported(free_tokens, now)
            self._changed(stable_id, machine, now)

    def version_changed(self, stable_id: str, version: str, now: float) -> None:
        """Note the version of a connecting machine: a new one clears what only lost connections had brought up."""
        self.lost(stable_id, now)
        machine = self._identities.get(stable_id)
        if machine is None:
            return
        changed = machine.version not in ("", version)
        machine.version = version
        if not changed or (machine.forgiven_at is not None and now - machine.forgiven_at < FORGIVE_EVERY):
            return
        machine.forgiven_at = now
        for pair in machine.pairs.values():
            for strikes in pair.shapes.values():
                strikes.forgive_disconnects()
        self._changed(stable_id, machine, now)

    def sweep(self, now: float) -> None:
        """Forget identities without an event for 10 minutes, and clear those of which nothing is left to ask."""
        stale = [key for key, one in self._identities.items() if now - one.last_event > IDLE_FORGET]
        for key in stale:
            del self._identities[key]
            self.silent.discard(key)
        for key in [key for key in self._suspects if key not in self._identities]:
            self._clear(key)
        for key in [key for key in self._suspects if not self._identities[key].is_suspect(now)]:
            self._clear(key)

    # Inside

    def _touch(self, stable_id: str, model: str, now: float) -> MachineFaults:
        one = self._identities.get(stable_id)
        if one is None:
            if len(self._identities) >= IDENTITIES_MAX:
                forgotten, _ = self._identities.popitem(last=False)
                self.silent.discard(forgotten)
                if forgotten in self._suspects:
                    self._clear(forgotten)
            one = self._identities[stable_id] = MachineFaults()
        elif len(one.pairs) >= PAIRS_MAX and model not in one.pairs:
            del one.pairs[next(iter(one.pairs))]
        self._identities.move_to_end(stable_id)
        one.last_event = now
        return one

    def _changed(self, stable_id: str, machine: MachineFaults, now: float) -> None:
        if machine.is_suspect(now):
            self._suspects.add(stable_id)
        else:
            self._suspects.discard(stable_id)
        if self.on_change is not None:
            self.on_change(stable_id)

    def _clear(self, stable_id: str) -> None:
        self._suspects.discard(stable_id)
        if self.on_change is not None:
            self.on_change(stable_id)
