"""The routing gate: the one function that says whether a session's trust lets it serve, in a fixed order of reasons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from server.trust.policy import NATIVE_BACKEND, TRUST_RANK

if TYPE_CHECKING:
    from protocol.messages.from_provider import PrivacyCapabilities
    from server.ports import TrustState
    from server.trust.policy import TrustPolicy

GateReason: TypeAlias = Literal[
    "offline",
    "untrusted",
    "private_only",
    "trust_floor",
    "runtime_unverified",
    "private_text",
    "challenge_stale",
]


def gate(
    trust: TrustState,
    policy: TrustPolicy,
    now: float,
    *,
    offline: bool = False,
    private_only: bool = False,
    owner: bool = False,
) -> GateReason | None:
    """Return the first reason against routing to this session, or None.

    `owner` marks a caller that owns the machine: the trust floor drops to `none` and a private machine is admitted;
    nothing else is relaxed. `now` is trio's clock.
    """
    rank = TRUST_RANK.get(trust.level, -1)
    floor = 0 if owner else TRUST_RANK[policy.min_trust]
    if offline:
        return "offline"
    if trust.untrusted is not None:
        return "untrusted"
    if private_only and not owner:
        return "private_only"
    if rank < floor:
        return "trust_floor"
    if not trust.runtime_verified:
        return "runtime_unverified"
    if not trust.private_text:
        return "private_text"
    if not trust.admitted or trust.verified_at is None or now - trust.verified_at > policy.challenge_max_age:
        return "challenge_stale"
    return None


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
