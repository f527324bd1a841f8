"""Reason codes of `trust_status` and the sentences that go with them; providers' operators read these."""

from __future__ import annotations

from typing import Final

_TEXTS: Final = {
    "absent": "no attestation was sent; update the provider to one that attests",
    "se_verified": "the attestation is valid",
    "recovered": "a challenge passed again",
    "sip_disabled": "System Integrity Protection is off; switch it on and reconnect",
    "secure_boot_disabled": "Secure Boot is off; switch it on and reconnect",
    "rdma_enabled": "RDMA is on and this coordinator refuses it; switch it off and reconnect",
    "model_hash_mismatch": "a model's weights differ from the catalogue; download it again and reconnect",
    "chunk_violation": "a response chunk broke the encryption rules; restart the provider",
    "challenge_failed": "three challenges failed; restart the provider",
    "challenge_timeout": "three challenges were not answered; the next answer restores trust",
    "replayed_blob": "the attestation is older than two minutes or from the future; set the clock and reconnect",
}


def reason_text(code: str) -> str:
    """Return `<code>: <text>`, the form of `trust_status.reason`."""
    return f"{code}: {_TEXTS.get(code, 'the attestation is not valid; correct it and reconnect')}"
