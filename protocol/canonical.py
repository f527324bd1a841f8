"""Canonical JSON: the one byte form that both sides sign.

Compact, keys in ascending order of their UTF-8 bytes at every level, UTF-8, no HTML escaping, `/` raw; control
characters the short JSON way or as `\\u00xx`, and U+2028 / U+2029 as the six characters `\\u2028` / `\\u2029`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from protocol.messages.from_provider import AttestationResponse

Canonicalisable: TypeAlias = str | int | bool | Mapping[str, "Canonicalisable"] | Sequence["Canonicalisable"] | None

STATUS_V2_DOMAIN: Final = b"darkbloom-status-v2\0"
CANONICAL_VERSION: Final = 2

_STATUS_TEXTS: Final = (
    "active_model_hash",
    "binary_hash",
    "python_hash",
    "runtime_hash",
    "grpc_binary_hash",
    "image_bridge_hash",
)
_STATUS_FLAGS: Final = ("hypervisor_active", "rdma_disabled", "secure_boot_enabled", "sip_enabled")
_STATUS_MAPS: Final = ("model_hashes", "template_hashes")


def canonical(value: Canonicalisable) -> bytes:
    """Write a value in canonical form.

    Raises `ValueError` for floats, because no two encoders agree on them, and for text that UTF-8 cannot carry.
    """
    _refuse_floats(value)
    text = json.dumps(_sorted(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").encode()


def challenge_bytes(nonce: str, timestamp: str) -> bytes:
    """Give the bytes of the first challenge signature: nonce text and timestamp text without a separator."""
    return (nonce + timestamp).encode()


def status_bytes(nonce: str, timestamp: str, reply: AttestationResponse) -> bytes:
    """Rebuild the bytes that `status_signature` covers, from the verifier's own nonce and timestamp.

    Absent flags, empty texts and empty maps are left out; a flag that is false is written. One builder serves providers
    that still report `hypervisor_active` and those that do not.
    """
    return canonical(_status(nonce, timestamp, reply))


def status_bytes_v2(nonce: str, timestamp: str, reply: AttestationResponse) -> bytes:
    """Rebuild the bytes of the second status signature: domain prefix, then the status with `canonical_version`."""
    status = _status(nonce, timestamp, reply)
    status["canonical_version"] = CANONICAL_VERSION
    return STATUS_V2_DOMAIN + canonical(status)


def _status(nonce: str, timestamp: str, reply: AttestationResponse) -> dict[str, Canonicalisable]:
    status: dict[str, Canonicalisable] = {"nonce": nonce, "timestamp": timestamp}
    for name in _STATUS_FLAGS:
        flag: bool | None = getattr(reply, name)
        if flag is not None:
            status[name] = flag
    for name in _STATUS_TEXTS + _STATUS_MAPS:
        value: str | dict[str, str] = getattr(reply, name)
        if value:
            status[name] = value
    return status


def _sorted(value: Canonicalisable) -> Canonicalisable:
    if isinstance(value, Mapping):
        return {name: _sorted(value[name]) for name in sorted(value, key=str.encode)}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_sorted(element) for element in value]
    return value


def _refuse_floats(value: object) -> None:
    if isinstance(value, float):
        raise ValueError("Canonical JSON holds no fractions; write the number as text or as an integer.")
    if isinstance(value, Mapping):
        for member in value.values():
            _refuse_floats(member)
    elif isinstance(value, list | tuple):
        for element in value:
            _refuse_floats(element)
