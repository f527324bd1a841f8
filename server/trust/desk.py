"""What all sessions share when trust is judged: policy, clock, nonces, the catalogue's hashes, the devices."""

from __future__ import annotations

import base64
import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from protocol.attestation import BlobVerdict, verify_blob
from protocol.messages.to_provider import AttestationChallenge
from protocol.rfc3339 import format_rfc3339
from server.trust.devices import DeviceTable
from server.trust.policy import NATIVE_BACKEND, TrustPolicy

if TYPE_CHECKING:
    from protocol.messages.from_provider import Register
    from server.trust.session import SessionTrust

_NONCE_BYTES: Final = 32


def no_catalogue(_model: str) -> str:
    """Expect no hash: without a catalogue every model is taken as it is."""
    return ""


@dataclass(slots=True, kw_only=True)
class TrustDesk:
    """One per coordinator.

    `wall_clock` gives Unix seconds (blob freshness, challenge timestamps), `spread` a uniform number in [-1, 1], and
    `catalog_hash` the expected weight hash of a model id, empty when the catalogue has none.
    """

    policy: TrustPolicy = field(default_factory=TrustPolicy)
    wall_clock: Callable[[], float] = time.time
    spread: Callable[[], float] = field(default=lambda: random.uniform(-1.0, 1.0))
    random_bytes: Callable[[int], bytes] = secrets.token_bytes
    catalog_hash: Callable[[str], str] = no_catalogue
    devices: DeviceTable[SessionTrust] = field(default_factory=DeviceTable)

    def verify(self, message: Register, registration_nonce: str, *, has_key: bool) -> BlobVerdict:
        """Verify the blob of a registration.

        Its age is enforced for every backend but the reference one, whose older versions never sign anew.
        """
        return verify_blob(
            message.attestation,
            register_public_key=message.public_key if has_key else "",
            now=self.wall_clock(),
            allow_dev=self.policy.allow_dev,
            enforce_freshness=message.backend != NATIVE_BACKEND,
            registration_nonce=registration_nonce,
        )

    def new_challenge(self) -> AttestationChallenge:
        """Make a challenge with a fresh nonce and the coordinator's time."""
        nonce = base64.b64encode(self.random_bytes(_NONCE_BYTES)).decode()
        return AttestationChallenge(nonce=nonce, timestamp=format_rfc3339(self.wall_clock()))

    def interval(self) -> float:
        """Return the seconds until the next challenge; spread, so that a restart does not synchronise the fleet."""
        return self.policy.challenge_interval * (1.0 + self.policy.challenge_jitter * self.spread())
