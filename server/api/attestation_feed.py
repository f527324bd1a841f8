"""`GET /v1/providers/attestation`: what is proven about the machines that serve, for whoever wants to compare.

Never a serial number, a device id, an account or a certificate chain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from quart import Blueprint

from server.api.public_answer import public_answer
from server.registry import status
from server.relay.provider_headers import clean

if TYPE_CHECKING:
    from quart.wrappers import Response

    from server.api.services import ApiServices
    from server.registry import Session

FRESH_SECONDS: Final = 5
HOW_TO_VERIFY: Final = (
    "An answer names the machine that served it in X-Provider-Id, and the key of its signed statement in "
    "X-Attestation-Se-Public-Key: find the same pair in this list. se_signature in the answer verifies with that key "
    "over the text of response_hash."
)


def attestation_blueprint(services: ApiServices) -> Blueprint:
    """Serve the feed to anybody; machines that serve their owner alone are not in it."""
    blueprint = Blueprint("attestation_feed", __name__)

    @blueprint.get("/v1/providers/attestation")
    async def feed() -> Response:
        now = services.clock()
        shown = [
            _machine(one, now)
            for one in services.registry.sessions()
            if one.trust.admitted and not one.caps.private_only
        ]
        answer = {"providers": shown, "verification_instructions": HOW_TO_VERIFY}
        return public_answer(answer, seconds=FRESH_SECONDS)

    return blueprint


def _machine(session: Session, now: float) -> dict[str, object]:
    hardware, trust, posture = session.caps.hardware, session.trust, session.trust.posture
    shown: dict[str, object] = {
        "provider_id": clean(session.session_id),
        "chip_name": clean(hardware.chip_name),
        "hardware_model": clean(hardware.machine_model),
        "trust_level": trust.level,
        "status": status(session, now),
        "memory_gb": int(hardware.memory_gb),
        "gpu_cores": hardware.gpu_cores,
        "models": sorted(session.caps.models),
        "secure_enclave": posture is not None and posture.secure_enclave,
        "sip_enabled": posture is not None and posture.sip_enabled,
        "secure_boot_enabled": posture is not None and posture.secure_boot_enabled,
        "authenticated_root_enabled": posture is not None and posture.authenticated_root_enabled,
        "se_public_key": posture.se_public_key if posture is not None else "",
        "mdm_verified": trust.level == "hardware",
        "acme_verified": False,
        "mda_verified": False,
    }
    if posture is not None and posture.system_volume_hash:
        shown["system_volume_hash"] = clean(posture.system_volume_hash)
    return shown
