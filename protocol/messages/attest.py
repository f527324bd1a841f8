"""Provider answers to challenges and to load and prefetch orders."""

from typing import ClassVar, Literal

import msgspec

from protocol.messages.wire import Int, Message, Wire


class AttestationExtension(Wire, frozen=True, kw_only=True):
    """Extensions of ours: the second status signature and the version that its canonical bytes carry."""

    status_signature_v2: str = ""
    canonical_version: Int = 0


class AttestationResponse(Message, frozen=True, kw_only=True):
    """Answer to a challenge; the posture flags are tri-state, absent is not False."""

    TYPE: ClassVar[str] = "attestation_response"

    nonce: str = msgspec.field(default_factory=str)
    signature: str = msgspec.field(default_factory=str)
    status_signature: str = ""
    public_key: str = msgspec.field(default_factory=str)
    hypervisor_active: bool | None = None
    rdma_disabled: bool | None = None
    sip_enabled: bool | None = None
    secure_boot_enabled: bool | None = None
    binary_hash: str = ""
    active_model_hash: str = ""
    python_hash: str = ""
    runtime_hash: str = ""
    grpc_binary_hash: str = ""
    image_bridge_hash: str = ""
    template_hashes: dict[str, str] = msgspec.field(default_factory=dict)
    model_hashes: dict[str, str] = msgspec.field(default_factory=dict)
    darkbloom: AttestationExtension | None = None


class CodeAttestationResponse(Message, frozen=True, kw_only=True):
    """Answer to a code-identity push: the decrypted nonce text and a signature over it."""

    TYPE: ClassVar[str] = "code_attestation_response"

    nonce: str = msgspec.field(default_factory=str)
    signature: str = msgspec.field(default_factory=str)


class LoadModelStatus(Message, frozen=True, kw_only=True):
    """Progress of a `load_model` order; an unknown or missing status rejects the frame."""

    TYPE: ClassVar[str] = "load_model_status"

    model_id: str = msgspec.field(default_factory=str)
    status: Literal["started", "succeeded", "failed"]
    error: str = ""


class PrefetchModelStatus(Message, frozen=True, kw_only=True):
    """Progress of a download; advisory."""

    TYPE: ClassVar[str] = "prefetch_model_status"

    model_id: str = msgspec.field(default_factory=str)
    status: str = msgspec.field(default_factory=str)
    bytes_done: Int = 0
    bytes_total: Int = 0
    error: str = ""
