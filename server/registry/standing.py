"""What gates and cost of a model on one session need besides the request, worked out once per change of the session.

A walk over thousands of providers then only compares and adds. The full gate function and the full cost stay the one
authority: `gates.evaluate` decides at every commit, and a property test holds that both always agree.

Invariant: a standing is used only while the session has the version with which it was made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from server.registry.admission import fits_hardware, provider_cap, unaccounted_tokens
from server.registry.cost import PENDING_MS, QUEUE_MS, health
from server.registry.rates import STATE_MS, projected_tps, registered_prefill_tps, static_tps
from server.registry.reasons import Reason
from server.registry.state import SlotState
from server.registry.views import in_flight, in_flight_total, total_memory_gb

if TYPE_CHECKING:
    from server.registry.gates import GateContext
    from server.registry.state import Session, Slot

NO_ROOM: Final = -1
ASK: Final = -2
"""Room that one number cannot tell: `admission.room_reason` must be asked with the request's need."""


class Standing:
    """One model on one session; rates are tokens/s, times ms unless they are moments (seconds).

    `blocked` is the first rejection by slot state, heat, hardware or the provider's own cap. `room` is the largest need
    that fits, or `ASK`. `cap_key` names the quality cap that a busy model must also keep. `observed_tps` is 0 where the
    fleet's median decides; `backlog_tokens` is None where the request decides.
    """

    __slots__ = (
        "account_id",
        "ahead",
        "backlog_tokens",
        "basis",
        "blocked",
        "busy",
        "cap_base",
        "chip_class",
        "chip_family",
        "connected",
        "draining_until",
        "fresh",
        "has_capacity",
        "health_ms",
        "loaded_tps",
        "observed_tps",
        "occupancy",
        "open",
        "pending",
        "plain_gate",
        "plain_known",
        "potential",
        "prefill",
        "prefix_ms",
        "projected_tps",
        "registered_prefill",
        "restoring",
        "room",
        "session",
        "state_ms",
        "tokens",
        "verified_at",
        "version",
        "waiting",
    )

    def __init__(self, session: Session, model: str, context: GateContext) -> None:
        """Work everything out anew."""
        caps, live, trust, policy = session.caps, session.live, session.trust, context.policy
        slot = session.slot(model)
        sums = session.ledger.sums(model)
        static = static_tps(caps)
        self.session = session
        self.version = session.version
        self.basis = context.basis
        self.account_id = session.ident.account_id
        self.connected = session.connected
        self.restoring = session.restoring
        self.draining_until = live.draining_until
        self.fresh = trust.admitted and trust.verified_at is not None
        self.verified_at = trust.verified_at if trust.verified_at is not None else 0.0
        self.plain_known = False
        self.plain_gate: tuple[int, Reason] | None = None
        self.busy = in_flight(session, model)
        self.cap_base = 0
        self.chip_class = caps.hardware.chip_class
        self.chip_family = caps.hardware.chip_family
        self.blocked = self._blocked(session, slot, model, context)
        self.room = NO_ROOM if self.blocked is not None else _room(session, slot, model)
        self.open = (
            self.connected
            and self.fresh
            and not self.restoring
            and self.draining_until is None
            and self.blocked is None
            and self.cap_base == 0
            and self.room != ASK
        )
        """Nothing but the slow gates, the age of the last challenge and `room` can stand in a request's way."""
        self.has_capacity = live.has_capacity
        self.observed_tps = max(1.0, slot.tps_decode) if slot.tps_decode > 0 else 0.0
        self.loaded_tps = max(1.0, static / (1 + policy.load_factor * slot.running))
        self.projected_tps = projected_tps(slot, static, policy.load_factor)
        self.registered_prefill = registered_prefill_tps(caps, static, policy)
        self.prefill = slot.tps_prefill if slot.tps_prefill > 0 else self.registered_prefill
        self.occupancy = max(sums.count, slot.occupancy)
        self.pending = len(session.ledger)
        self.state_ms = STATE_MS[slot.state]
        self.prefix_ms = self.state_ms + QUEUE_MS * self.occupancy + PENDING_MS * self.pending
        self.health_ms = health(live, total_memory_gb(session))
        budget = slot.budget
        budgeted = budget is not None and budget.max > 0
        self.backlog_tokens = budget.used + budget.queued if budget is not None and budgeted else None
        self.waiting = slot.waiting
        self.potential = slot.potential
        self.tokens = sums.tokens
        self.ahead = slot.waiting + max(0, sums.count - slot.running - slot.waiting)

    def _blocked(self, session: Session, slot: Slot, model: str, context: GateContext) -> Reason | None:
        """Apply the gates after freshness in their order, as far as no request and no fleet sample is needed."""
        ad = session.caps.models.get(model)
        if ad is None:
            return Reason.NOT_SERVING_MODEL
        if slot.state is SlotState.CRASHED:
            return Reason.SLOT_CRASHED
        if slot.state is SlotState.LOADING:
            return Reason.SLOT_RELOADING
        if session.live.thermal == "critical":
            return Reason.THERMAL_CRITICAL
        catalog = context.catalog
        if slot.state is not SlotState.RESIDENT and not fits_hardware(
            catalog.size_gb(ad), catalog.min_ram_gb(model), total_memory_gb(session)
        ):
            return Reason.MODEL_TOO_LARGE
        cap = provider_cap(session)
        if in_flight_total(session) >= cap:
            return Reason.NO_HEADROOM
        if self.busy:
            base = slot.max_concurrency or cap
            if self.busy >= base:
                return Reason.NO_HEADROOM
            if context.policy.quality_cap:
                self.cap_base = base
        return None

    def backlog(self, max_tokens: int) -> int:
        """Tokens of work ahead of a request."""
        if self.backlog_tokens is not None:
            return self.backlog_tokens
        known = self.potential + self.waiting * max_tokens
        return known + max(0, self.tokens - known)


def _room(session: Session, slot: Slot, model: str) -> int:
    """The largest need that the slot's budget holds, where the model is alone on the machine and has one."""
    if slot.state is not SlotState.RESIDENT or slot.budget is None:
        return ASK
    if not (session.slots.keys() <= {model} and session.ledger.by_model.keys() <= {model}):
        return ASK
    budget = slot.budget
    if budget.max <= 0:
        return NO_ROOM
    return max(NO_ROOM, budget.max - budget.used - budget.queued - unaccounted_tokens(session, model, slot))


def standing(session: Session, model: str, context: GateContext) -> Standing:
    """Return the standing of a model on a session, from its cache while nothing changed."""
    cached = session.standings.get(model)
    if cached is not None and cached.version == session.version and cached.basis is context.basis:
        return cached
    cached = session.standings[model] = Standing(session, model, context)
    return cached
