"""`register` and `models_update`: what a provider is and which models it offers."""

from typing import ClassVar, Final

import msgspec

from protocol.messages.wire import NO_RAW, Int, Message, Wire, written_empty


class CpuCores(Wire, frozen=True, kw_only=True):
    """Processor cores by kind."""

    total: Int = msgspec.field(default_factory=int)
    performance: Int = msgspec.field(default_factory=int)
    efficiency: Int = msgspec.field(default_factory=int)


class Hardware(Wire, frozen=True, kw_only=True):
    """The provider's machine; memory in GiB, bandwidth in GB/s."""

    machine_model: str = msgspec.field(default_factory=str)
    chip_name: str = msgspec.field(default_factory=str)
    chip_family: str = msgspec.field(default_factory=str)
    chip_tier: str = msgspec.field(default_factory=str)
    memory_gb: Int = msgspec.field(default_factory=int)
    memory_available_gb: float = msgspec.field(default_factory=float)
    cpu_cores: CpuCores = msgspec.field(default_factory=CpuCores)
    gpu_cores: Int = msgspec.field(default_factory=int)
    memory_bandwidth_gbs: float = msgspec.field(default_factory=float)


class ModelEntry(Wire, frozen=True, kw_only=True):
    """One offered model build; `template_render_ok` False fences it off, None means no opinion."""

    id: str = msgspec.field(default_factory=str)
    size_bytes: Int = msgspec.field(default_factory=int)
    model_type: str = msgspec.field(default_factory=str)
    quantization: str = msgspec.field(default_factory=str)
    weight_hash: str = ""
    is_vision: bool = False
    template_render_ok: bool | None = None
    estimated_memory_gb: float | None = None
    parameters: Int = 0
    tool_constraint_template_hash: str = ""
    native_media_tools: bool = False
    ssd_offloaded_weight_bytes: Int = 0
    native_load_transient_bytes: Int = 0


class PrivacyCapabilities(Wire, frozen=True, kw_only=True):
    """Self-reported protections; each may be set only after the corresponding call succeeded."""

    text_backend_inprocess: bool = msgspec.field(default_factory=bool)
    text_proxy_disabled: bool = msgspec.field(default_factory=bool)
    python_runtime_locked: bool = msgspec.field(default_factory=bool)
    dangerous_modules_blocked: bool = msgspec.field(default_factory=bool)
    sip_enabled: bool = msgspec.field(default_factory=bool)
    anti_debug_enabled: bool = msgspec.field(default_factory=bool)
    core_dumps_disabled: bool = msgspec.field(default_factory=bool)
    env_scrubbed: bool = msgspec.field(default_factory=bool)


RAW_PROMPTS: Final = "raw_prompts"
"""A feature: the provider takes bodies with the `endpoint` `/v1/completions`, and continues their prompt as it is."""


class RegisterExtension(Wire, frozen=True, kw_only=True):
    """Extensions of ours: `features` says what this provider can do, instead of version floors."""

    features: tuple[str, ...] = ()


class Register(Message, frozen=True, kw_only=True):
    """First frame of a provider connection.

    `attestation` keeps the exact bytes that arrived, because a signature covers them; `raw_bytes` reads it.
    """

    TYPE: ClassVar[str] = "register"

    hardware: Hardware = msgspec.field(default_factory=Hardware)
    models: tuple[ModelEntry, ...] = msgspec.field(default_factory=written_empty)
    backend: str = msgspec.field(default_factory=str)
    version: str = ""
    public_key: str = ""
    encrypted_response_chunks: bool = False
    attestation: msgspec.Raw = NO_RAW
    prefill_tps: float | None = None
    decode_tps: float | None = None
    auth_token: str = ""
    private_only: bool = False
    apns_device_token: str = ""
    apns_environment: str = ""
    python_hash: str = ""
    runtime_hash: str = ""
    template_hashes: dict[str, str] = msgspec.field(default_factory=dict)
    privacy_capabilities: PrivacyCapabilities | None = None
    runtime_capabilities: tuple[str, ...] = ()
    tool_constraint_protocol: Int = 0
    tool_constraint_models: tuple[str, ...] = ()
    platform: str = ""
    darkbloom: RegisterExtension | None = None


class ModelsUpdate(Message, frozen=True, kw_only=True):
    """The full new inventory of a provider; entries that vanished are retired."""

    TYPE: ClassVar[str] = "models_update"

    models: tuple[ModelEntry, ...] = msgspec.field(default_factory=written_empty)
    tool_constraint_protocol: Int = 0
    tool_constraint_models: tuple[str, ...] = ()
