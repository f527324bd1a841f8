"""All frames that the coordinator sends to a provider."""

from typing import ClassVar, Final

import msgspec

from protocol.messages.wire import EncryptedPayload, Int, Message, Wire, written_empty


class InferenceRequest(Message, frozen=True, kw_only=True):
    """One attempt: the sealed body and what the coordinator says beside it.

    A plaintext `body` has no field here: it is ignored on receipt, so a request without `encrypted_body` is refused.
    Without `cache_scope` a provider caches nothing for this request.
    """

    TYPE: ClassVar[str] = "inference_request"

    request_id: str = msgspec.field(default_factory=str)
    encrypted_body: EncryptedPayload | None = None
    first_content_budget_ms: Int = 0
    cache_scope: str = ""
    cache_receipt_nonce: str = ""


class Cancel(Message, frozen=True, kw_only=True):
    """Stop an attempt; idempotent, unknown ids are ignored."""

    TYPE: ClassVar[str] = "cancel"

    request_id: str = msgspec.field(default_factory=str)


class AttestationChallenge(Message, frozen=True, kw_only=True):
    """A fresh nonce (base64 of 32 random bytes) and the coordinator's time (RFC 3339, whole seconds, `Z`)."""

    TYPE: ClassVar[str] = "attestation_challenge"

    nonce: str = msgspec.field(default_factory=str)
    timestamp: str = msgspec.field(default_factory=str)


class Mismatch(Wire, frozen=True, kw_only=True):
    """One component whose reported hash is not in the accepted set."""

    component: str = msgspec.field(default_factory=str)
    expected: str = msgspec.field(default_factory=str)
    got: str = msgspec.field(default_factory=str)


class RuntimeStatus(Message, frozen=True, kw_only=True):
    """Result of the runtime hash comparison; `mismatches` is written even when it is empty."""

    TYPE: ClassVar[str] = "runtime_status"

    verified: bool = msgspec.field(default_factory=bool)
    mismatches: tuple[Mismatch, ...] = msgspec.field(default_factory=written_empty)


class TrustStatus(Message, frozen=True, kw_only=True):
    """Trust level and status after a change; `reason` is written even when it is empty.

    `account` is `linked`, or `token_refused` for a machine whose token is unknown or was revoked; it is left out for
    one that showed none.
    """

    TYPE: ClassVar[str] = "trust_status"

    trust_level: str = msgspec.field(default_factory=str)
    status: str = msgspec.field(default_factory=str)
    reason: str = msgspec.field(default_factory=str)
    account: str = ""


class LoadModel(Message, frozen=True, kw_only=True):
    """Order to load a model into memory."""

    TYPE: ClassVar[str] = "load_model"

    model_id: str = msgspec.field(default_factory=str)


class PrefetchModel(Message, frozen=True, kw_only=True):
    """Order to download a model; higher `priority` first, advisory."""

    TYPE: ClassVar[str] = "prefetch_model"

    model_id: str = msgspec.field(default_factory=str)
    priority: Int = 0


class DesiredModel(Wire, frozen=True, kw_only=True):
    """The build that an alias should be served by."""

    model_name: str = msgspec.field(default_factory=str)
    desired_build: str = msgspec.field(default_factory=str)
    previous_build: str = ""


class DesiredModels(Message, frozen=True, kw_only=True):
    """All wanted builds; an empty list is meaningful and is written."""

    TYPE: ClassVar[str] = "desired_models"

    models: tuple[DesiredModel, ...] = msgspec.field(default_factory=written_empty)


class ProviderDrainAck(Message, frozen=True, kw_only=True):
    """All terminals before the `provider_drain` of this id have been processed."""

    TYPE: ClassVar[str] = "provider_drain_ack"

    request_id: str = msgspec.field(default_factory=str)


class CapacityProbe(Message, frozen=True, kw_only=True):
    """Question whether a request of this shape could be taken now; prompt tokens are rounded up to 512."""

    TYPE: ClassVar[str] = "capacity_probe"

    quote_id: str = msgspec.field(default_factory=str)
    model: str = msgspec.field(default_factory=str)
    prompt_tokens_bucket: Int = msgspec.field(default_factory=int)
    max_output_tokens: Int = msgspec.field(default_factory=int)
    deadline_remaining_ms: Int = 0


class CodeAttestationResumeChallenge(Message, frozen=True, kw_only=True):
    """A code-identity challenge that travels on the WebSocket instead of a push."""

    TYPE: ClassVar[str] = "code_attestation_resume_challenge"

    code_challenge: EncryptedPayload | None = None


ToProvider = (
    InferenceRequest
    | Cancel
    | AttestationChallenge
    | RuntimeStatus
    | TrustStatus
    | LoadModel
    | PrefetchModel
    | DesiredModels
    | ProviderDrainAck
    | CapacityProbe
    | CodeAttestationResumeChallenge
)

TO_PROVIDER: Final[tuple[type[ToProvider], ...]] = (
    InferenceRequest,
    Cancel,
    AttestationChallenge,
    RuntimeStatus,
    TrustStatus,
    LoadModel,
    PrefetchModel,
    DesiredModels,
    ProviderDrainAck,
    CapacityProbe,
    CodeAttestationResumeChallenge,
)

__all__ = [
    "TO_PROVIDER",
    "AttestationChallenge",
    "Cancel",
    "CapacityProbe",
    "CodeAttestationResumeChallenge",
    "DesiredModel",
    "DesiredModels",
    "EncryptedPayload",
    "InferenceRequest",
    "LoadModel",
    "Mismatch",
    "PrefetchModel",
    "ProviderDrainAck",
    "RuntimeStatus",
    "ToProvider",
    "TrustStatus",
]
