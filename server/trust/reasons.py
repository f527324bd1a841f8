"""Reason codes of `trust_status` and the sentences that go with them; providers' operators read these."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

AccountStanding: TypeAlias = Literal["", "linked", "token_refused"]
"""How a connection stands with accounts; empty for one that showed no token."""

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


_TOKEN_REFUSED: Final = "; the account token was refused, so this machine earns nothing; log in again"


def reason_text(code: str, account: AccountStanding = "") -> str:
    """Return `<code>: <text>`, the form of `trust_status.reason`; providers that know no `account` show this alone."""
    text = _TEXTS.get(code, "the attestation is not valid; correct it and reconnect")
    return f"{code}: {text}{_TOKEN_REFUSED if account == 'token_refused' else ''}"
