"""The eligibility gates: one function for every reader, a fixed order, one reason per rejection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from server.registry.admission import admit
from server.registry.rates import (
    decode_tps,
    dedicated_family,
    prefill_tps,
    registered_prefill_tps,
    static_tps,
    ttft_ms,
)
from server.registry.reasons import Reason
from server.registry.request import SelfRoute
from server.registry.state import SlotState
from server.registry.views import is_draining, owned_by
from server.trust import is_fresh, standing

if TYPE_CHECKING:
    from server.registry.catalog import Catalog
    from server.registry.faults import FaultView
    from server.registry.policy import RoutingPolicy
    from server.registry.rates import FleetRates
    from server.registry.request import RoutedRequest
    from server.registry.state import Session

_SERVING: Final = 3
_DEDICATED: Final = 4
_BEFORE_FRESHNESS: Final = 16
_TRUST: Final = 11


class GateContext:
    """What all gates share besides the session and the request."""

    __slots__ = ("basis", "catalog", "faults", "ignore_health", "policy", "rates")

    def __init__(
        self,
        *,
        policy: RoutingPolicy,
        catalog: Catalog,
        faults: FaultView,
        rates: FleetRates,
        ignore_health: bool = False,
        basis: object | None = None,
    ) -> None:
        self.policy = policy
        self.catalog = catalog
        self.faults = faults
        self.rates = rates
        self.ignore_health = ignore_health
        self.basis = basis if basis is not None else object()
        """Stands for policy and catalogue: what was worked out with another basis is void."""

    def without_health(self) -> GateContext:
        """The same context for the fail-open scan, which ignores health breakers."""
        return GateContext(
            policy=self.policy,
            catalog=self.catalog,
            faults=self.faults,
            rates=self.rates,
            ignore_health=True,
            basis=self.basis,
        )


def evaluate(session: Session, request: RoutedRequest, context: GateContext, now: float) -> Reason | None:
    """Return the first gate that rejects the request on this provider, or None when it may be sent there.

    Pure: reads the session, the request and `now` (monotonic seconds), and fills the session's cache of slow gates.
    """
    model = request.model
    owned = owned_by(session, request.account_id)
    if request.self_route is SelfRoute.EXCLUSIVE and not owned:
        return Reason.ALLOWLIST
    if request.allowed_serials is not None and not (request.allowed_serials & session.ident.serials):
        return Reason.ALLOWLIST
    if session.ident.session_id in request.excluded_sessions:
        return Reason.EXCLUDED

    slow = slow_gate(session, request, context, owned=owned)
    if slow is not None and slow[0] <= _DEDICATED:
        return slow[1]
    fault = context.faults.rejection(
        session.ident.stable_id, model, request.traits.shape, now, ignore_health=context.ignore_health
    )
    if fault is not None:
        return fault
    if not session.connected:
        return Reason.OFFLINE
    if is_draining(session, now):
        return Reason.DRAINING
    if session.restoring:
        return Reason.STATE_RESTORING
    if slow is not None and slow[0] < _BEFORE_FRESHNESS:
        return slow[1]
    if not is_fresh(session.trust, now, max_age=context.policy.challenge_max_age):
        return Reason.CHALLENGE_STALE
    if slow is not None:
        return slow[1]
    return _state_and_room(session, request, context)


def _state_and_room(session: Session, request: RoutedRequest, context: GateContext) -> Reason | None:
    model = request.model
    slot = session.slot(model)
    if slot.state is SlotState.CRASHED:
        return Reason.SLOT_CRASHED
    if slot.state is SlotState.LOADING:
        return Reason.SLOT_RELOADING
    if session.live.thermal == "critical":
        return Reason.THERMAL_CRITICAL
    policy = context.policy
    full = admit(
        session,
        session.caps.models[model],
        slot,
        request.need,
        catalog=context.catalog,
        rates=context.rates,
        policy=policy,
    )
    if full is not None:
        return full
    if policy.ttft_hard_reject and request.is_public and not request.traits.requires_vision:
        estimate = estimate_ttft(session, request, context)
        if estimate is not None and estimate > policy.first_content_deadline_ms(request.prompt_tokens):
            return Reason.TTFT_CEILING
    return None


def estimate_ttft(session: Session, request: RoutedRequest, context: GateContext) -> float | None:
    """Time to first token of the request on this provider in ms; None without a capacity report."""
    slot = session.slot(request.model)
    static = static_tps(session.caps)
    median = context.rates.decode_median(request.model, session.caps.hardware.chip_family)
    return ttft_ms(
        slot,
        prompt_tokens=request.prompt_tokens,
        ledger_count=session.ledger.sums(request.model).count,
        prefill=prefill_tps(slot, registered_prefill_tps(session.caps, static, context.policy)),
        tps=decode_tps(slot, static, median, context.policy.load_factor),
        has_capacity=session.live.has_capacity,
    )


def slow_gate(
    session: Session, request: RoutedRequest, context: GateContext, *, owned: bool
) -> tuple[int, Reason] | None:
    """Return (number, reason) of the first gate that reads slow state only, cached until that state changes."""
    relaxed = owned and request.self_route is not SelfRoute.OFF
    key = (request.model, request.traits, owned, relaxed)
    cache = session.slow_gates
    if key in cache:
        return cache[key]
    verdict = _slow_gate(session, request, context, owned=owned, relaxed=relaxed)
    cache[key] = verdict
    return verdict


def _slow_gate(
    session: Session, request: RoutedRequest, context: GateContext, *, owned: bool, relaxed: bool
) -> tuple[int, Reason] | None:
    """Gates 3, 4, 11 to 15, 17 and 18; an owner who routes to his own machine is relaxed on 4, 12 and 13 alone."""
    caps, trust, policy = session.caps, session.trust, context.policy
    ad = caps.models.get(request.model)
    if ad is None or not context.catalog.accepts(ad):
        return (_SERVING, Reason.NOT_SERVING_MODEL)
    if not relaxed and not _dedicated_alone(session, request.model, policy):
        return (_DEDICATED, Reason.DEDICATED)
    against = standing(
        trust,
        policy.min_trust,
        weights_verified=weights_verified(session, request.model, context.catalog),
        private_only=caps.private_only,
        owner=owned,
        waive_floor=relaxed,
    )
    if against is not None:
        return (_TRUST, Reason(against))
    if not caps.public_key or not caps.encrypted_chunks:
        return (15, Reason.PRIVATE_TEXT)
    traits = request.traits
    if ad.template_render_ok is False or not traits.required_features <= caps.features:
        return (17, Reason.TRAIT_FLOOR)
    if traits.has_tools and not caps.tools_ok:
        return (17, Reason.TRAIT_FLOOR)
    if traits.requires_tool_constraint and not ad.tool_constraint:
        return (17, Reason.TRAIT_FLOOR)
    if traits.requires_vision and not ad.is_vision:
        return (18, Reason.VISION)
    return None


def _dedicated_alone(session: Session, model: str, policy: RoutingPolicy) -> bool:
    """Whether a model of a dedicated family runs on a provider that offers this family alone."""
    family = dedicated_family(model, policy)
    return family is None or all(dedicated_family(other, policy) == family for other in session.caps.models)


def weights_verified(session: Session, model: str, catalog: Catalog) -> bool:
    """Whether the provider's weights are the catalogue's, as far as that can be known now.

    The advertised hash is enough until the first challenge after the load; from then on a signed status must have
    confirmed it. A model that delivered content is loaded, whatever the provider's reports say.
    """
    expected = catalog.expected_hash(model)
    if not expected:
        return True
    confirmed = session.trust.model_hashes.get(model)
    if confirmed is not None:
        return confirmed == expected
    if session.caps.models[model].weight_hash != expected:
        return False
    verified_at = session.trust.verified_at
    if verified_at is None:
        return True
    reported, observed = session.slot(model).resident_since, session.content_since.get(model)
    return all(loaded_at is None or verified_at <= loaded_at for loaded_at in (reported, observed))
