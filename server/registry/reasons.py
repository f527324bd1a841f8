"""Closed vocabulary of why a provider cannot take a request, in the order in which the gates are tested."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Reason(StrEnum):
    """One code per gate; the first gate that fails names the rejection."""

    ALLOWLIST = "allowlist"
    EXCLUDED = "excluded"
    NOT_SERVING_MODEL = "not_serving_model"
    DEDICATED = "dedicated"
    DISPATCH_LOAD_COOLDOWN = "dispatch_load_cooldown"
    ERROR_COOLDOWN = "error_cooldown"
    CAPACITY_COOLDOWN = "capacity_cooldown"
    BREAKER = "breaker"
    EJECTION = "ejection"
    OFFLINE = "offline"
    DRAINING = "draining"
    STATE_RESTORING = "state_restoring"
    UNTRUSTED = "untrusted"
    PRIVATE_ONLY = "private_only"
    TRUST_FLOOR = "trust_floor"
    RUNTIME_UNVERIFIED = "runtime_unverified"
    MODEL_UNVERIFIED = "model_unverified"
    PRIVATE_TEXT = "private_text"
    CHALLENGE_STALE = "challenge_stale"
    TRAIT_FLOOR = "trait_floor"
    VISION = "vision"
    SLOT_CRASHED = "slot_crashed"
    SLOT_RELOADING = "slot_reloading"
    THERMAL_CRITICAL = "thermal_critical"
    MODEL_TOO_LARGE = "model_too_large"
    NO_HEADROOM = "no_headroom"
    FREE_MEMORY = "free_memory"
    TTFT_CEILING = "ttft_ceiling"


CAPACITY: Final = frozenset({Reason.NO_HEADROOM, Reason.FREE_MEMORY, Reason.CAPACITY_COOLDOWN, Reason.DRAINING})
"""Transient lack of room: the request may wait for it."""

HEALTH: Final = frozenset({Reason.BREAKER, Reason.EJECTION})
"""Gates that a fleet without any healthy provider may ignore."""
