"""The one trust gate: whether a session's trust lets it serve, in a fixed order of reasons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from server.trust.policy import NATIVE_BACKEND, TRUST_RANK

if TYPE_CHECKING:
    from protocol.messages.from_provider import PrivacyCapabilities
    from server.ports import TrustLevel, TrustState
    from server.trust.policy import TrustPolicy

GateReason: TypeAlias = Literal[
    "untrusted",
    "private_only",
    "trust_floor",
    "runtime_unverified",
    "model_unverified",
    "private_text",
]
_NO_RANK = -1


def standing(
    trust: TrustState,
    min_trust: TrustLevel,
    *,
    weights_verified: bool = True,
    private_only: bool = False,
    owner: bool = False,
    waive_floor: bool = False,
) -> GateReason | None:
    """Return the first reason against this session that time alone does not change, or None.

    `owner` marks a caller that owns the machine: a private machine is admitted. `waive_floor` marks an owner who asks
    for his own machine: the floor drops to `none` too; nothing else is relaxed. Freshness is asked of `is_fresh`.
    """
    if trust.untrusted is not None:
        return "untrusted"
    if private_only and not owner:
        return "private_only"
    if not meets_floor(trust, "none" if waive_floor else min_trust):
        return "trust_floor"
    if not trust.runtime_verified:
        return "runtime_unverified"
    if not weights_verified:
        return "model_unverified"
    if not trust.private_text:
        return "private_text"
    return None


def is_fresh(trust: TrustState, now: float, *, max_age: float) -> bool:
    """Tell whether a challenge passed at all, and the last one not too long ago; `now` is trio's clock."""
    return trust.admitted and trust.verified_at is not None and now - trust.verified_at <= max_age


def meets_floor(trust: TrustState, min_trust: TrustLevel) -> bool:
    """Tell whether the level reaches the floor; an unknown level reaches none at all."""
    return TRUST_RANK.get(trust.level, _NO_RANK) >= TRUST_RANK[min_trust]


def is_proven(trust: TrustState) -> bool:
    """Tell whether the session is who it claims to be, and has not lost its trust since."""
    return trust.admitted and trust.untrusted is None


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyFacts:
    """The part of private-text eligibility that registration settles."""

    has_key: bool
    backend: str
    encrypted_chunks: bool
    capabilities: PrivacyCapabilities | None

    def eligible(self, policy: TrustPolicy, *, dev: bool) -> bool:
        """Tell whether this provider may get private text once its manifest and its first challenge are verified.

        A Python backend must have locked its import path and blocked dangerous modules as well; the development
        profile waives these two, because a source checkout cannot.
        """
        caps = self.capabilities
        if caps is None or not (self.has_key and self.encrypted_chunks and self.backend in policy.accepted_backends):
            return False
        excused = dev or self.backend == NATIVE_BACKEND
        return (
            caps.text_backend_inprocess
            and caps.text_proxy_disabled
            and caps.anti_debug_enabled
            and caps.core_dumps_disabled
            and caps.env_scrubbed
            and (excused or (caps.python_runtime_locked and caps.dangerous_modules_blocked))
        )
