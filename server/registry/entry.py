"""One model on one session as the routing index holds it: gate answers, room and price, worked out when either changes.

The full functions (`gates.evaluate`, `price.candidate`) stay the authority; a property test holds that an entry always
says what they say.

Invariant: an entry is refreshed at every change of its session, and again when `flip_at` passes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from server.registry.admission import (
    NO_ROOM,
    fits_hardware,
    largest_need,
    model_cap,
    provider_cap,
    unaccounted_tokens,
)
from server.registry.gate_class import gate_class
from server.registry.gates import slot_gate
from server.registry.ledger import NO_SUMS
from server.registry.pair_faults import NO_FAULTS
from server.registry.price import health_us, price_of
from server.registry.rates import decode_tps, projected_tps
from server.registry.reasons import Reason
from server.registry.state import NO_SLOT, SlotState
from server.registry.sums import NOTHING
from server.registry.views import in_flight_total, total_memory_gb

if TYPE_CHECKING:
    from server.registry.gate_class import GateClass
    from server.registry.gates import GateContext
    from server.registry.kinds import Kind
    from server.registry.pair_faults import PairFaults
    from server.registry.price import Price
    from server.registry.rows import Level, Row
    from server.registry.speed import Speed
    from server.registry.state import ModelAd, Session, Slot


class Machine:
    """What all entries of a session share: its memory and caps, what is in flight, and its health."""

    __slots__ = ("cap", "health", "in_flight", "memory", "pending")

    def __init__(self, session: Session) -> None:
        self.memory = total_memory_gb(session)
        self.cap = provider_cap(session)
        self.in_flight = in_flight_total(session)
        self.health = health_us(session.live, self.memory)
        self.pending = len(session.ledger.entries)


class Entry:
    """The state of one pair. Costs are microseconds, `room` and `ceiling` tokens, `tps` the rate of one stream now.

    `version` is the session's version that it reflects; `late` the first rejection by gates 19 to 23; `limit` the most
    requests of the model, `places` what the machine still takes of all models; `fast` tells that one more stream keeps
    the wanted decode rate. `kind`, `level`, `row`, `speed_class` and the keys belong to the pool: where the entry stands.
    """

    __slots__ = (
        "ad",
        "admitted",
        "base",
        "basis",
        "ceiling",
        "epoch",
        "estimate_ms",
        "fast",
        "faults",
        "flip_at",
        "gates",
        "headroom",
        "in_flight",
        "key",
        "kind",
        "late",
        "level",
        "limit",
        "model",
        "occupancy",
        "part",
        "pending",
        "places",
        "price",
        "queued_flip",
        "room",
        "room_key",
        "row",
        "session",
        "share",
        "slot",
        "slow_version",
        "speed",
        "speed_class",
        "speed_number",
        "tps",
        "version",
    )

    def __init__(self, session: Session, ad: ModelAd) -> None:
        self.session = session
        self.ad = ad
        self.model = ad.id
        self.epoch = session.ident.epoch
        self.version = self.slow_version = -1
        self.basis: object | None = None
        self.gates: GateClass | None = None
        self.admitted = False
        self.faults: PairFaults = NO_FAULTS
        self.flip_at = self.queued_flip = math.inf
        self.slot: Slot = NO_SLOT
        self.occupancy = self.pending = self.in_flight = self.limit = self.places = 0
        self.share = self.tps = 0.0
        self.late: Reason | None = None
        self.room = NO_ROOM
        self.fast = True
        self.ceiling = self.estimate_ms = 0
        self.part = NOTHING
        self.kind: Kind | None = None
        self.level: Level | None = None
        self.row: Row | None = None
        self.speed_class = (0, 0, 0, 0)
        self.speed_number = -1
        self.headroom = self.key = self.base = self.room_key = 0
        self.speed: Speed
        self.price: Price

    def judge(self, context: GateContext, now: float) -> None:
        """Work out the gate answers anew: after a change that they read, or when time alone changed one."""
        session = self.session
        self.faults = context.faults.pair(session.ident.stable_id, self.model, now)
        found, self.flip_at = gate_class(session, self.model, self.faults, context, now)
        if found != self.gates:
            self.gates = found
        self.slow_version = session.slow_version
        self.basis = context.basis

    def measure(self, machine: Machine, context: GateContext) -> None:
        """Work out state, room and price from the session's present record."""
        session, model, policy = self.session, self.model, context.policy
        speed = self.speed = session.speeds[model]
        slot = self.slot = session.slots.get(model, NO_SLOT)
        sums = session.ledger.by_model.get(model, NO_SUMS)
        occupancy = slot.running + slot.waiting
        if sums.count > occupancy:
            occupancy = sums.count
        self.occupancy = occupancy
        self.pending = machine.pending
        self.in_flight = in_flight = machine.in_flight
        self.places = machine.cap - in_flight
        self.share = in_flight / machine.cap
        self.limit = model_cap(slot, machine.cap, speed.solo, policy)
        late = slot_gate(slot, session.live)
        if late is None:
            late = self._full(slot, occupancy, machine, context)
        self.late = late
        faults = self.faults
        budget = slot.budget
        if (
            budget is not None
            and budget.max > 0
            and faults is NO_FAULTS
            and slot.state is SlotState.RESIDENT
            and len(session.slots) == 1
            and session.ledger.by_model.keys() <= {model}
        ):  # alone on the machine, the common case: the slot's own budget is all there is
            self.room = budget.max - budget.used - budget.queued - unaccounted_tokens(session, model, slot)
        else:
            self.room = largest_need(session, self.ad, slot, catalog=context.catalog, faults=faults)
        self.tps = decode_tps(slot, speed.static, speed.median, policy.load_factor)
        floor = policy.min_decode_tps
        self.fast = floor <= 0 or projected_tps(slot, speed.static, policy.load_factor) >= floor
        self.price = price_of(session, slot, model, faults, context, speed, machine.health)
        self.version = session.version

    def _full(self, slot: Slot, occupancy: int, machine: Machine, context: GateContext) -> Reason | None:
        """Gates 22 and 23."""
        catalog = context.catalog
        if slot.state is not SlotState.RESIDENT and not fits_hardware(
            catalog.size_gb(self.ad), catalog.min_ram_gb(self.model), machine.memory
        ):
            return Reason.MODEL_TOO_LARGE
        if machine.in_flight >= machine.cap or (occupancy and occupancy >= self.limit):
            return Reason.NO_HEADROOM
        return None

    def rank_order(self) -> tuple[int, int, int]:
        """Where the entry stands among equals: by row, speed class, and base."""
        if self.row is None:
            raise AssertionError("Only a listed entry has a place among equals.")
        return self.row.number, self.speed_number, self.key
