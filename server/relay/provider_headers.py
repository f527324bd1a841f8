"""What a client may know of the machine that serves it: a snapshot taken at dispatch, safe as header values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.registry.state import Session

MAX_VALUE_CHARACTERS: Final = 128


def clean(value: str) -> str:
    """Printable ASCII of at most 128 characters; providers supply the chip's name, so nothing else may pass."""
    if len(value) <= MAX_VALUE_CHARACTERS and value.isascii() and value.isprintable():
        return value.strip()
    return "".join(letter for letter in value if " " <= letter <= "~")[:MAX_VALUE_CHARACTERS].strip()


def provider_details(session: Session) -> dict[str, object]:
    """The opt-in `metadata` block's provider part; no serial numbers, no account."""
    hardware, trust = session.caps.hardware, session.trust
    details: dict[str, object] = {
        "provider_id": clean(session.session_id),
        "provider_attested": trust.attested,
        "provider_trust_level": trust.level,
        "provider_encrypted": True,
        "provider_chip": clean(hardware.chip_name),
        "provider_machine_model": clean(hardware.machine_model),
    }
    if trust.posture is not None:
        details["provider_secure_enclave"] = trust.posture.secure_enclave
        details["attestation_se_public_key"] = clean(trust.posture.se_public_key)
    return details


_HEADERS: Final = {
    "provider_id": "X-Provider-Id",
    "provider_attested": "X-Provider-Attested",
    "provider_trust_level": "X-Provider-Trust-Level",
    "provider_chip": "X-Provider-Chip",
    "provider_machine_model": "X-Provider-Model",
    "provider_encrypted": "X-Provider-Encrypted",
    "provider_secure_enclave": "X-Provider-Secure-Enclave",
    "attestation_se_public_key": "X-Attestation-Se-Public-Key",
}


def provider_headers(details: Mapping[str, object]) -> dict[str, str]:
    """The same as response headers; empty values are left out."""
    found: dict[str, str] = {}
    for key, name in _HEADERS.items():
        value = details.get(key, "")
        text = ("true" if value else "false") if isinstance(value, bool) else str(value)
        if text:
            found[name] = text
    return found
