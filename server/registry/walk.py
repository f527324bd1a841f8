"""The walk over the providers of a model: gates and price of one request on each of them.

Ordinary public requests go over the sessions' standings; requests with anything personal in them (self-route, allow
list, the caller's own machines) go through the full functions. Both give the same answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from server.registry.admission import quality_capped, room_reason
from server.registry.cost import CAPACITY_RATE_MS
from server.registry.gates import evaluate, slow_gate
from server.registry.price import candidate
from server.registry.reasons import CAPACITY, HEALTH, Reason
from server.registry.request import PLAIN, SelfRoute
from server.registry.standing import ASK, standing

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from server.registry.gates import GateContext
    from server.registry.request import RoutedRequest
    from server.registry.standing import Standing
    from server.registry.state import Session


class Priced(Struct, gc=False):
    """One provider that passed every gate, with what choosing compares; see `Candidate`."""

    session: Session
    cost: float
    occupancy: int
    pending: int
    ttft_ms: float | None
    projected_tps: float
    owned: bool


class Scan(Struct, frozen=True):
    """What one walk over the providers of a model found."""

    candidates: list[Priced]
    rejections: dict[Reason, int]
    scanned: int
    fail_open: bool = False


def scan(sessions: Iterable[Session], request: RoutedRequest, context: GateContext, now: float) -> Scan:
    """Run gates and cost over the sessions; a second walk ignores breakers when only they stand in the way."""
    found = _walk(sessions, request, context, now)
    if found.candidates or context.ignore_health or not HEALTH & found.rejections.keys():
        return found
    if (CAPACITY | {Reason.TTFT_CEILING}) & found.rejections.keys():
        return found
    second = _walk(sessions, request, context.without_health(), now)
    return Scan(second.candidates, second.rejections, second.scanned, fail_open=True)


def _walk(sessions: Iterable[Session], request: RoutedRequest, context: GateContext, now: float) -> Scan:
    candidates: list[Priced] = []
    rejections: dict[Reason, int] = {}
    scanned = 0
    one = _Walk(request, context, now)
    personal = request.self_route is not SelfRoute.OFF or request.allowed_serials is not None
    account_id, model, basis, take = request.account_id, request.model, context.basis, one.take
    for session in sessions:
        scanned += 1
        found = session.standings.get(model)
        if found is None or found.version != session.version or found.basis is not basis:
            found = standing(session, model, context)
        if personal or (account_id is not None and found.account_id == account_id):
            outcome = one.take_personal(session)
        else:
            outcome = take(found)
        if isinstance(outcome, Priced):
            candidates.append(outcome)
        else:
            rejections[outcome] = rejections.get(outcome, 0) + 1
    return Scan(candidates, rejections, scanned)


class _Walk:
    """One request on its way over the sessions; what depends on it and the fleet alone is worked out once."""

    __slots__ = (
        "_caps",
        "_context",
        "_deadline",
        "_excluded",
        "_known_suspects",
        "_max_age",
        "_max_tokens",
        "_medians",
        "_need",
        "_now",
        "_ordinary",
        "_output_ms",
        "_plain",
        "_prompt",
        "_prompt_ms",
        "_request",
        "_suspects",
    )

    def __init__(self, request: RoutedRequest, context: GateContext, now: float) -> None:
        policy, traits = context.policy, request.traits
        self._request = request
        self._context = context
        self._now = now
        self._excluded = request.excluded_sessions
        self._plain = traits == PLAIN
        self._suspects = context.faults.suspects
        self._known_suspects: Container[str] = self._suspects if self._suspects is not None else ()
        self._ordinary = self._plain and not request.excluded_sessions and self._suspects is not None
        self._max_age = policy.challenge_max_age
        self._need = request.need
        self._prompt = request.prompt_tokens
        self._max_tokens = request.max_tokens
        self._prompt_ms = 1000 * request.prompt_tokens
        self._output_ms = 1000 * request.max_tokens
        self._medians: dict[str, float] = {}
        self._caps: dict[tuple[str, float, int], int] = {}
        hard = policy.ttft_hard_reject and request.is_public and not traits.requires_vision
        self._deadline = policy.first_content_deadline_ms(request.prompt_tokens) if hard else None

    def take_personal(self, session: Session) -> Priced | Reason:
        """Judge a session by the full functions."""
        reason = evaluate(session, self._request, self._context, self._now)
        if reason is not None:
            return reason
        one = candidate(session, self._request, self._context, self._now)
        return Priced(session, one.cost, one.occupancy, one.pending, one.ttft_ms, one.projected_tps, one.owned)

    def take(self, one: Standing) -> Priced | Reason:
        """Judge a session by its standing: the gates in their order, then the price."""
        now, session = self._now, one.session
        if (
            one.open
            and self._ordinary
            and one.plain_known
            and one.plain_gate is None
            and now - one.verified_at <= self._max_age
            and self._need <= one.room
            and session.ident.stable_id not in self._known_suspects
        ):
            return self._price(one, suspect=False)
        if self._excluded and session.ident.session_id in self._excluded:
            return Reason.EXCLUDED
        slow = self._slow_gate(one)
        if slow is not None and slow[0] <= 4:
            return slow[1]
        suspects = self._suspects
        suspect = suspects is None or session.ident.stable_id in suspects
        if suspect and (fault := self._fault(session)) is not None:
            return fault
        if not one.connected:
            return Reason.OFFLINE
        if one.draining_until is not None and now < one.draining_until:
            return Reason.DRAINING
        if one.restoring:
            return Reason.STATE_RESTORING
        if slow is not None and slow[0] < 16:
            return slow[1]
        if not one.fresh or now - one.verified_at > self._max_age:
            return Reason.CHALLENGE_STALE
        if slow is not None:
            return slow[1]
        if one.blocked is not None:
            return one.blocked
        if one.cap_base and one.busy >= self._cap(one):
            return Reason.NO_HEADROOM
        need = self._need
        if one.room == ASK:
            if self._has_no_room(session, need):
                return Reason.FREE_MEMORY
        elif need > one.room:
            return Reason.FREE_MEMORY
        return self._price(one, suspect=suspect)

    def _price(self, one: Standing, *, suspect: bool) -> Priced | Reason:
        # The same sums in the same order as `price.candidate`, so that both agree to the last bit.
        tps = one.observed_tps or self._median(one.chip_family) or one.loaded_tps
        ttft: float | None = None
        if one.has_capacity:
            prefill = one.prefill
            ttft = one.state_ms + 1000 * (self._prompt * one.ahead) / prefill + self._prompt_ms / prefill + 1000 / tps
            if self._deadline is not None and ttft > self._deadline:
                return Reason.TTFT_CEILING
        work = self._prompt_ms / one.registered_prefill + self._output_ms / tps
        cost = one.prefix_ms + 1000 * one.backlog(self._max_tokens) / tps + work + one.health_ms
        if suspect:
            faults, ident = self._context.faults, one.session.ident
            cost += CAPACITY_RATE_MS * faults.capacity_rate(ident.stable_id, self._request.model, self._now)
        return Priced(one.session, cost, one.occupancy, one.pending, ttft, one.projected_tps, False)

    def _slow_gate(self, one: Standing) -> tuple[int, Reason] | None:
        if not self._plain:
            return slow_gate(one.session, self._request, self._context, owned=False)
        if not one.plain_known:
            one.plain_gate = slow_gate(one.session, self._request, self._context, owned=False)
            one.plain_known = True
        return one.plain_gate

    def _fault(self, session: Session) -> Reason | None:
        request, context = self._request, self._context
        return context.faults.rejection(
            session.ident.stable_id,
            request.model,
            request.traits.shape,
            self._now,
            ignore_health=context.ignore_health,
        )

    def _cap(self, one: Standing) -> int:
        """The quality cap of a busy model: the same for all machines of a class with the same benchmark."""
        caps = one.session.caps
        key = (one.chip_class, caps.decode_tps, one.cap_base)
        cap = self._caps.get(key)
        if cap is None:
            policy = self._context.policy
            solo = self._context.rates.solo(one.session, self._request.model, policy)
            cap = quality_capped(one.cap_base, solo, policy.min_decode_tps, policy.load_factor, policy.overcommit)
            if caps.decode_tps > 0:
                self._caps[key] = cap
        return cap

    def _median(self, chip_family: str) -> float:
        median = self._medians.get(chip_family)
        if median is None:
            median = self._context.rates.decode_median(self._request.model, chip_family)
            self._medians[chip_family] = median = max(1.0, median) if median > 0 else 0.0
        return median

    def _has_no_room(self, session: Session, need: int) -> bool:
        model = self._request.model
        ad = session.caps.models[model]
        return room_reason(session, ad, session.slot(model), need, catalog=self._context.catalog) is not None
