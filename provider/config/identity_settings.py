"""Settings of the machine's identity."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from protocol.settings import path, setting


@dataclass(frozen=True, kw_only=True)
class IdentitySettings:
    """Which key signs for this machine."""

    enclave_helper: Path | None = setting(
        "ENCLAVE_HELPER",
        path(),
        default=None,
        group="Machine",
        meaning="Program that signs with the security chip; by default `darkbloom-enclave` beside this program on "
        "macOS, and a key file where there is none.",
    )
