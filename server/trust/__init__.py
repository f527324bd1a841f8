"""Trust in providers: registration verdict, challenges, levels, and the gate that routing asks."""

from __future__ import annotations

from server.trust.desk import TrustDesk
from server.trust.gate import GateReason, PrivacyFacts, is_fresh, is_proven, meets_floor, standing
from server.trust.policy import NATIVE_BACKEND, TRUST_RANK, RuntimeManifest, TrustPolicy
from server.trust.session import SessionTrust, TrustPort

__all__ = [
    "NATIVE_BACKEND",
    "TRUST_RANK",
    "GateReason",
    "PrivacyFacts",
    "RuntimeManifest",
    "SessionTrust",
    "TrustDesk",
    "TrustPolicy",
    "TrustPort",
    "is_fresh",
    "is_proven",
    "meets_floor",
    "standing",
]
