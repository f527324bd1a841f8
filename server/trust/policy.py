"""What the coordinator demands of a provider: the trust policy and the runtime manifest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.ports import TrustLevel

NATIVE_BACKEND: Final = "mlx-swift"
"""The reference backend: version floors count its versions alone, and it has no import path to lock."""

TRUST_RANK: Final[Mapping[str, int]] = {"none": 0, "self_signed": 1, "hardware": 2}
"""Any other level has no rank and meets no floor, not even `none`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeManifest:
    """Accepted hashes by component, in lower case; an empty set compares nothing."""

    python_hashes: frozenset[str] = frozenset()
    runtime_hashes: frozenset[str] = frozenset()
    template_hashes: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustPolicy:
    """Settings of trust; times in seconds.

    `allow_dev` admits development attestation (a software key that says so in its signed blob), capped at
    `self_signed`; the coordinator's settings refuse it in production.
    """

    min_trust: TrustLevel = "hardware"
    allow_dev: bool = False
    challenge_interval: float = 300.0
    challenge_jitter: float = 0.1
    """Fraction of the interval by which each one is lengthened or shortened at random."""
    challenge_timeout: float = 30.0
    challenge_max_age: float = 960.0
    failures_to_untrust: int = 3
    timeouts_to_close: int = 6
    require_status_signature: bool = True
    rdma: Literal["record", "deny"] = "record"
    accepted_backends: frozenset[str] = frozenset({NATIVE_BACKEND, "mlx-python"})
    manifest: RuntimeManifest = field(default_factory=RuntimeManifest)
