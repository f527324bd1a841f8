"""What the gates say of one model on one session before any request is known, and how a request reads it.

Sessions with the same answers form one kind of a pool; a request is tested against kinds, not against sessions. The
full gate function (`gates.evaluate`) stays the authority: a property test holds that both always give the same reason.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec import Struct

from server.registry.gates import before_faults, liveness, trust_gate
from server.registry.reasons import Reason
from server.trust import is_fresh

if TYPE_CHECKING:
    from server.registry.gates import GateContext
    from server.registry.pair_faults import PairFaults
    from server.registry.request import Traits
    from server.registry.state import Session


class GateClass(Struct, frozen=True):
    """The answers in gate order: `before` (3-5), `error_shapes` (6), `cooldown` (7), `sick` (8, 9), `middle` (10-16).

    The rest is what gates 17 and 18 compare with the request's traits, and the version that a retry may avoid.
    """

    before: Reason | None = None
    error_shapes: frozenset[str] = frozenset()
    cooldown: bool = False
    sick: Reason | None = None
    middle: Reason | None = None
    template_ok: bool = True
    tools_ok: bool = True
    constraint: bool = False
    vision: bool = False
    features: frozenset[str] = frozenset()
    version: str = ""

    def rejection(self, traits: Traits, *, ignore_health: bool = False) -> Reason | None:
        """Return the first of gates 3 to 18 that rejects a public request with these traits, or None."""
        if self.before is not None:
            return self.before
        if traits.shape in self.error_shapes:
            return Reason.ERROR_COOLDOWN
        if self.cooldown:
            return Reason.CAPACITY_COOLDOWN
        if self.sick is not None and not ignore_health:
            return self.sick
        if self.middle is not None:
            return self.middle
        if not self.template_ok or not traits.required_features <= self.features:
            return Reason.TRAIT_FLOOR
        if traits.has_tools and not self.tools_ok:
            return Reason.TRAIT_FLOOR
        if traits.requires_tool_constraint and not self.constraint:
            return Reason.TRAIT_FLOOR
        return Reason.VISION if traits.requires_vision and not self.vision else None

    @property
    def is_public(self) -> bool:
        """Whether a small plain request of anyone passes, room aside."""
        return (
            self.before is None
            and "base" not in self.error_shapes
            and self.sick is None
            and self.middle is None
            and self.template_ok
        )


def gate_class(
    session: Session, model: str, faults: PairFaults, context: GateContext, now: float
) -> tuple[GateClass, float]:
    """Return the answers for anyone but the machine's owner, and the first moment at which time alone alters them."""
    ad = session.caps.models.get(model)
    before = before_faults(session, model, context, relaxed=False)
    if before is None and faults.load_cooldown:
        before = Reason.DISPATCH_LOAD_COOLDOWN
    trust, live, policy = session.trust, session.live, context.policy
    middle = liveness(session, now) or trust_gate(session, model, context, owned=False, relaxed=False)
    if middle is None and not is_fresh(trust, now, max_age=policy.challenge_max_age):
        middle = Reason.CHALLENGE_STALE
    flip = faults.flip_at if faults.flip_at > now else math.nextafter(now, math.inf)
    if live.draining_until is not None and live.draining_until > now:
        flip = min(flip, live.draining_until)
    if trust.verified_at is not None:
        stale = math.nextafter(trust.verified_at + policy.challenge_max_age, math.inf)
        if stale > now:
            flip = min(flip, stale)
    caps = session.caps
    return GateClass(
        before=before,
        error_shapes=frozenset(faults.error_shapes),
        cooldown=faults.capacity_cooldown,
        sick=faults.sick,
        middle=middle,
        template_ok=ad is not None and ad.template_render_ok is not False,
        tools_ok=caps.tools_ok,
        constraint=ad is not None and ad.tool_constraint,
        vision=ad is not None and ad.is_vision,
        features=caps.features,
        version=caps.version,
    ), flip
