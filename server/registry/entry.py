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
from server.registry.cost import PENDING_US, QUEUE_US, health_us
from server.registry.decision import Candidate, CostTerms
from server.registry.gate_class import gate_class
from server.registry.gates import slot_gate
from server.registry.ledger import NO_SUMS
from server.registry.pair_faults import NO_FAULTS
from server.registry.price import price_of
from server.registry.rates import decode_tps, projected_tps
from server.registry.reasons import Reason
from server.registry.speed import follow_speed, take_speed
from server.registry.state import NO_SLOT, SlotState
from server.registry.sums import IDLE, NOTHING, fixed_part
from server.registry.ttft import calibrated_ttft_ms
from server.registry.views import in_flight_total, total_memory_gb

if TYPE_CHECKING:
    from server.registry.gate_class import GateClass
    from server.registry.gates import GateContext
    from server.registry.kinds import Kind
    from server.registry.pair_faults import PairFaults
    from server.registry.price import Delivery, Price
    from server.registry.rows import Level, Row
    from server.registry.speed import Speed
    from server.registry.state import ModelAd, Session, Slot
    from server.registry.sums import Fixed, Live


class Machine:
    """What all entries of a session share: memory, cap and health as reported, and what is in flight now."""

    __slots__ = ("cap", "health", "in_flight", "memory", "pending", "version")

    def __init__(self) -> None:
        self.version = -1
        self.memory = 0.0
        self.cap = 1
        self.health = self.in_flight = self.pending = 0

    def report(self, session: Session) -> None:
        """Follow the last report."""
        self.memory = total_memory_gb(session)
        self.cap = provider_cap(session)
        self.health = health_us(session.live, self.memory)

    def load(self, session: Session) -> None:
        """Follow the ledger."""
        self.in_flight = in_flight_total(session)
        self.pending = len(session.ledger.entries)


class Entry:
    """The state of one pair. Costs are microseconds, `room` and `ceiling` tokens, `tps` the rate of one stream now.

    `version` is the session's version that it reflects. `against` is the first rejection by gates 19 to 22, `late` by
    gates 19 to 23; `limit` the most requests of the model, `places` what the machine still takes of all models, `ahead`
    the requests whose prompts come first; `fast` tells that one more stream keeps the wanted decode rate. `cost` is the
    price of an empty request, `prompt` and `output` the price of a token more. `fixed_cost` is `cost` without
    `queue_us` and `wait_us`, the terms that reservations alone change; None where the cost is no such sum. `free` are
    the tokens that the report leaves where the slot's own budget is all there is, else None. `delivery` is there with
    cost v2 only, `batch` is what it was last asked for. `kind`, `row`, `level`, `place`, `speed_class` and the keys
    belong to the pool.
    """

    __slots__ = (
        "ad",
        "admitted",
        "against",
        "ahead",
        "base",
        "basis",
        "batch",
        "ceiling",
        "cost",
        "counted",
        "delivery",
        "epoch",
        "estimate_ms",
        "fast",
        "faults",
        "fixed",
        "fixed_cost",
        "flip_at",
        "free",
        "gates",
        "headroom",
        "health",
        "in_flight",
        "key",
        "kind",
        "late",
        "level",
        "limit",
        "live",
        "model",
        "occupancy",
        "open_backlog",
        "output",
        "pending",
        "place",
        "places",
        "price",
        "projected",
        "prompt",
        "queue_us",
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
        "wait_us",
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
        self.occupancy = self.ahead = self.pending = self.in_flight = self.limit = self.places = 0
        self.share = self.tps = 0.0
        self.against: Reason | None = None
        self.late: Reason | None = None
        self.room = NO_ROOM
        self.fast = True
        self.ceiling = self.estimate_ms = 0
        self.fixed: Fixed = NOTHING
        self.counted: Fixed = NOTHING
        self.live: Live = IDLE
        self.cost = self.prompt = self.output = 0
        self.projected = 0.0
        self.health = 0
        self.price: Price
        self.fixed_cost: int | None = None
        self.delivery: Delivery | None = None
        self.queue_us = self.wait_us = 0
        self.batch = 0
        self.free: int | None = None
        self.open_backlog = False
        self.kind: Kind | None = None
        self.level: Level | None = None
        self.row: Row | None = None
        self.speed_class = (0, 0, 0, 0)
        self.speed_number = -1
        self.headroom = self.key = self.base = self.room_key = self.place = 0
        self.speed: Speed

    def judge(self, context: GateContext, now: float) -> None:
        """Work out the gate answers anew: after a change that they read, or when time alone changed one."""
        session = self.session
        self.faults = context.faults.pair(session.ident.stable_id, self.model, now)
        found, self.flip_at = gate_class(session, self.model, self.faults, context, now)
        if found != self.gates:
            self.gates = found
        self.slow_version = session.slow_version
        self.basis = context.basis

    def follow_health(self, health: int) -> bool:
        """Take another health of the machine into the price; False where more than that may have changed."""
        if self.fixed_cost is None or slot_gate(self.slot, self.session.live) is not self.against:
            return False
        more = health - self.health
        self.fixed_cost += more
        self.cost += more
        self.health = health
        return True

    def follow_start(self) -> bool:
        """Take the prompts that are still ahead into the price; False where they do not count."""
        if self.fixed_cost is None or self.delivery is None:
            return False
        ahead = self.delivery.ahead(self.session.ledger.by_model.get(self.model, NO_SUMS))
        self.cost += ahead - self.queue_us
        self.queue_us = ahead
        return True

    def report(self, machine: Machine, context: GateContext, *, rates: bool) -> None:
        """Work out what only reports, faults and settings change; `rates` follows the fleet's rates as well."""
        session, model, policy, catalog = self.session, self.model, context.policy, context.catalog
        slot = self.slot = session.slots.get(model, NO_SLOT)
        speed = session.speeds.get(model)
        if speed is None:
            speed = take_speed(session, model, context)
        elif rates:
            speed = follow_speed(speed, session, slot, model, context)
        self.speed = session.speeds[model] = speed
        self.limit = model_cap(slot, machine.cap, speed.solo, policy)
        against = slot_gate(slot, session.live)
        if against is None and slot.state is not SlotState.RESIDENT:
            size, least = catalog.size_gb(self.ad), catalog.min_ram_gb(model)
            if not fits_hardware(size, least, machine.memory):
                against = Reason.MODEL_TOO_LARGE
        self.against = against
        self.tps = decode_tps(slot, speed.static, speed.median, policy.load_factor)
        floor = policy.min_decode_tps
        self.projected = projected_tps(slot, speed.static, policy.load_factor)
        self.fast = floor <= 0 or self.projected >= floor
        budget, alone = slot.budget, len(session.slots) == 1 and slot.state is SlotState.RESIDENT
        if alone and budget is not None and budget.max > 0 and self.faults is NO_FAULTS:
            self.free = budget.max - budget.used - budget.queued
        else:
            self.free = None
        self._price(machine, context)
        self.fixed = fixed_part(self, catalog)

    def _price(self, machine: Machine, context: GateContext) -> None:
        price = self.price = price_of(
            self.session, self.slot, self.model, self.faults, context, self.speed, machine.health
        )
        self.prompt, self.output, self.cost = price.prompt, price.output, price.base
        self.open_backlog = price.open_backlog is not None
        self.health = price.health
        self.queue_us, self.wait_us = price.queue, price.pending
        budget = self.slot.budget
        self.delivery, self.batch = price.delivery, -1
        linear = price.delivery is not None or (budget is not None and budget.max > 0)
        self.fixed_cost = price.base - price.queue - price.pending if linear else None

    def load(self, machine: Machine, context: GateContext) -> None:
        """Work out what reservations change: room, and the part of the price that grows with what is in flight."""
        session, slot = self.session, self.slot
        ledger = session.ledger
        reserved = ledger.by_model
        sums = reserved.get(self.model, NO_SUMS)
        ended = more = 0
        if slot.as_of_seq > 0:
            ended = ledger.ended.get(self.model, 0)
            more = sums.fresh - ended
        occupancy = slot.running + slot.waiting + more
        if sums.count > occupancy:
            occupancy = sums.count
        self.occupancy = occupancy
        self.ahead = occupancy + ended - slot.running
        self.pending = pending = machine.pending
        self.in_flight = in_flight = machine.in_flight
        self.places = machine.cap - in_flight
        self.share = in_flight / machine.cap
        late = self.against
        if late is None and (in_flight >= machine.cap or (occupancy and occupancy >= self.limit)):
            late = Reason.NO_HEADROOM
        self.late = late
        if self.free is not None and len(reserved) <= (sums is not NO_SUMS):  # nothing of another model: the usual case
            self.room = self.free - unaccounted_tokens(sums, slot)
        else:
            self.room = largest_need(session, self.ad, slot, catalog=context.catalog, faults=self.faults)
        if self.fixed_cost is None:
            self._price(machine, context)
            return
        delivery = self.delivery
        if delivery is None:
            self.queue_us, self.wait_us = QUEUE_US * occupancy, PENDING_US * pending
        else:
            self.queue_us = delivery.ahead(sums)
            batch = max(slot.running + more, sums.count)
            if batch != self.batch:
                self.batch = batch
                self.wait_us, self.output = delivery.beside(batch)
        self.cost = self.fixed_cost + self.queue_us + self.wait_us

    @property
    def free_places(self) -> int:
        """Requests of the model that a warm, eligible machine could take besides what it has; 0 for any other."""
        return self.live[2]

    def candidate(self, prompt_tokens: int, priced: tuple[int, int], *, owned: bool) -> Candidate:
        """Write down the entry as it is chosen; see `price.candidate`, which says the same."""
        price, slot, live, speed = self.price, self.slot, self.session.live, self.speed
        prompt, output = priced
        if self.fixed_cost is None:
            terms, cost = price.terms(prompt, output), price.total(prompt, output)
        else:
            work = prompt * self.prompt + output * self.output
            cost = self.cost + work
            terms = CostTerms(
                price.state / 1000,
                self.queue_us / 1000,
                self.wait_us / 1000,
                price.backlog / 1000,
                work / 1000,
                self.health / 1000,
                price.capacity_rate / 1000,
            )
        ttft = None
        if live.has_capacity:
            ttft = calibrated_ttft_ms(slot, speed, prompt_tokens=prompt_tokens, ahead=self.ahead, tps=self.tps)
        return Candidate(
            self.session,
            terms,
            cost,
            self.occupancy,
            self.pending,
            self.share,
            ttft,
            self.tps,
            speed.static,
            self.projected,
            owned,
        )
