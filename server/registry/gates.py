"""The eligibility gates: one function for every reader, a fixed order, one reason per rejection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.registry.admission import admit
from server.registry.estimates import Estimates
from server.registry.rates import dedicated_family
from server.registry.reasons import Reason
from server.registry.request import SelfRoute
from server.registry.speed import speed_of
from server.registry.state import SlotState
from server.registry.ttft import ttft_price
from server.registry.views import is_draining, owned_by
from server.trust import is_fresh, standing

if TYPE_CHECKING:
    from server.registry.catalog import Catalog
    from server.registry.faults import FaultView
    from server.registry.pair_faults import PairFaults
    from server.registry.policy import RoutingPolicy
    from server.registry.rates import FleetRates
    from server.registry.request import RoutedRequest
    from server.registry.state import Live, Session, Slot


class GateContext:
    """What all gates share besides the session and the request."""

    __slots__ = ("basis", "catalog", "estimates", "faults", "ignore_health", "policy", "rates")

    def __init__(
        self,
        *,
        policy: RoutingPolicy,
        catalog: Catalog,
        faults: FaultView,
        rates: FleetRates,
        estimates: Estimates | None = None,
        ignore_health: bool = False,
        basis: object | None = None,
    ) -> None:
        self.policy = policy
        self.catalog = catalog
        self.faults = faults
        self.rates = rates
        self.estimates = estimates if estimates is not None else Estimates()
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
            estimates=self.estimates,
            ignore_health=True,
            basis=self.basis,
        )


def evaluate(session: Session, request: RoutedRequest, context: GateContext, now: float) -> Reason | None:
    """Return the first gate that rejects the request on this provider, or None when it may be sent there.

    Pure: reads the session, the request, the fault view and `now` (monotonic seconds). The one authority; the routing
    index keeps the answers of the same functions by session and model.
    """
    model = request.model
    owned = owned_by(session, request.account_id)
    relaxed = owned and request.self_route is not SelfRoute.OFF
    if request.self_route is SelfRoute.EXCLUSIVE and not owned:
        return Reason.ALLOWLIST
    if request.allowed_serials is not None and not (request.allowed_serials & session.ident.serials):
        return Reason.ALLOWLIST
    if session.ident.session_id in request.excluded_sessions:
        return Reason.EXCLUDED
    before = before_faults(session, model, context, relaxed=relaxed)
    if before is not None:
        return before
    faults = context.faults.pair(session.ident.stable_id, model, now)
    closed = faults.rejection(request.traits.shape, ignore_health=context.ignore_health)
    if closed is not None:
        return closed
    middle = liveness(session, now) or trust_gate(session, model, context, owned=owned, relaxed=relaxed)
    if middle is not None:
        return middle
    if not is_fresh(session.trust, now, max_age=context.policy.challenge_max_age):
        return Reason.CHALLENGE_STALE
    return _traits(session, request) or _state_and_room(session, request, faults, context)


def before_faults(session: Session, model: str, context: GateContext, *, relaxed: bool) -> Reason | None:
    """Gates 3 and 4; an owner who routes to his own machine is excused from the second."""
    ad = session.caps.models.get(model)
    if ad is None or not context.catalog.accepts(ad):
        return Reason.NOT_SERVING_MODEL
    if not relaxed and not _dedicated_alone(session, model, context.policy):
        return Reason.DEDICATED
    return None


def liveness(session: Session, now: float) -> Reason | None:
    """Gate 10."""
    if not session.connected:
        return Reason.OFFLINE
    if is_draining(session, now):
        return Reason.DRAINING
    return Reason.STATE_RESTORING if session.restoring else None


def trust_gate(session: Session, model: str, context: GateContext, *, owned: bool, relaxed: bool) -> Reason | None:
    """Gates 11 to 15; an owner is admitted to his private machine, and without a floor when he routes there himself."""
    against = standing(
        session.trust,
        context.policy.min_trust,
        weights_verified=weights_verified(session, model, context.catalog),
        private_only=session.caps.private_only,
        owner=owned,
        waive_floor=relaxed,
    )
    if against is not None:
        return Reason(against)
    return None if session.caps.public_key and session.caps.encrypted_chunks else Reason.PRIVATE_TEXT


def _traits(session: Session, request: RoutedRequest) -> Reason | None:
    """Gates 17 and 18."""
    caps, traits = session.caps, request.traits
    ad = caps.models[request.model]
    if ad.template_render_ok is False or not traits.required_features <= caps.features:
        return Reason.TRAIT_FLOOR
    if traits.has_tools and not caps.tools_ok:
        return Reason.TRAIT_FLOOR
    if traits.requires_tool_constraint and not ad.tool_constraint:
        return Reason.TRAIT_FLOOR
    return Reason.VISION if traits.requires_vision and not ad.is_vision else None


def _state_and_room(
    session: Session, request: RoutedRequest, faults: PairFaults, context: GateContext
) -> Reason | None:
    """Gates 19 to 25."""
    model = request.model
    slot = session.slot(model)
    against = slot_gate(slot, session.live)
    if against is not None:
        return against
    full = admit(
        session,
        session.caps.models[model],
        slot,
        request.need,
        catalog=context.catalog,
        solo=speed_of(session, model, context).solo,
        policy=context.policy,
        faults=faults,
    )
    if full is not None:
        return full
    deadline = hard_deadline_us(request, context.policy)
    if deadline is not None:
        estimate = ttft_price(session, model, context).microseconds(request.prompt_tokens)
        if estimate is not None and estimate > deadline:
            return Reason.TTFT_CEILING
    return None


def slot_gate(slot: Slot, live: Live) -> Reason | None:
    """Gates 19 to 21."""
    if slot.state is SlotState.CRASHED:
        return Reason.SLOT_CRASHED
    if slot.state is SlotState.LOADING:
        return Reason.SLOT_RELOADING
    return Reason.THERMAL_CRITICAL if live.thermal == "critical" else None


def hard_deadline_us(request: RoutedRequest, policy: RoutingPolicy) -> int | None:
    """Latest first token of a public text request where late machines are not used at all; None elsewhere."""
    if not policy.ttft_hard_reject or not request.is_public or request.traits.requires_vision:
        return None
    return round(1000 * policy.first_content_deadline_ms(request.prompt_tokens))


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
