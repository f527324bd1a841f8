"""All frames that a provider sends to the coordinator."""

from typing import Final

from protocol.messages.attest import (
    AttestationExtension,
    AttestationResponse,
    CodeAttestationResponse,
    LoadModelStatus,
    PrefetchModelStatus,
)
from protocol.messages.heartbeat import (
    BackendCapacity,
    CapacityQuote,
    CapacityTelemetry,
    Heartbeat,
    Slot,
    Stats,
    SystemMetrics,
)
from protocol.messages.inference import (
    CompleteExtension,
    InferenceAccepted,
    InferenceComplete,
    InferenceError,
    InferenceResponseChunk,
    ProviderDrain,
    Usage,
)
from protocol.messages.register import (
    CpuCores,
    Hardware,
    ModelEntry,
    ModelsUpdate,
    PrivacyCapabilities,
    Register,
    RegisterExtension,
)
from protocol.messages.wire import EncryptedPayload, raw_bytes

FromProvider = (
    Register
    | Heartbeat
    | InferenceAccepted
    | InferenceResponseChunk
    | InferenceComplete
    | InferenceError
    | AttestationResponse
    | CodeAttestationResponse
    | LoadModelStatus
    | PrefetchModelStatus
    | ModelsUpdate
    | ProviderDrain
    | CapacityQuote
)

FROM_PROVIDER: Final[tuple[type[FromProvider], ...]] = (
    Register,
    Heartbeat,
    InferenceAccepted,
    InferenceResponseChunk,
    InferenceComplete,
    InferenceError,
    AttestationResponse,
    CodeAttestationResponse,
    LoadModelStatus,
    PrefetchModelStatus,
    ModelsUpdate,
    ProviderDrain,
    CapacityQuote,
)

__all__ = [
    "FROM_PROVIDER",
    "AttestationExtension",
    "AttestationResponse",
    "BackendCapacity",
    "CapacityQuote",
    "CapacityTelemetry",
    "CodeAttestationResponse",
    "CompleteExtension",
    "CpuCores",
    "EncryptedPayload",
    "FromProvider",
    "Hardware",
    "Heartbeat",
    "InferenceAccepted",
    "InferenceComplete",
    "InferenceError",
    "InferenceResponseChunk",
    "LoadModelStatus",
    "ModelEntry",
    "ModelsUpdate",
    "PrefetchModelStatus",
    "PrivacyCapabilities",
    "ProviderDrain",
    "Register",
    "RegisterExtension",
    "Slot",
    "Stats",
    "SystemMetrics",
    "Usage",
    "raw_bytes",
]
