"""Trust in providers: registration verdict, challenges, levels, and the gate that routing asks."""

from __future__ import annotations

from server.trust.desk import TrustDesk
from server.trust.gate import GateReason, PrivacyFacts, gate
from server.trust.policy import TRUST_RANK, RuntimeManifest, TrustPolicy
from server.trust.session import SessionTrust, TrustPort

__all__ = [
    "TRUST_RANK",
    "GateReason",
    "PrivacyFacts",
    "RuntimeManifest",
    "SessionTrust",
    "TrustDesk",
    "TrustPolicy",
    "TrustPort",
    "gate",
]
