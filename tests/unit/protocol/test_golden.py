"""Golden frames: each message minimal and full, in both directions, byte for byte."""

import json
from pathlib import Path

import msgspec
import pytest

from protocol.codec import decode_from_provider, decode_to_provider, encode
from protocol.messages import from_provider as f
from protocol.messages import to_provider as t
from protocol.messages.wire import Message

GOLDEN = Path(__file__).parent / "golden"

K = "2J47rXlDfb7Z+ENBgwT0YP8Fx/6B/kqVd6gEy5Nn/2Y="
NONCE = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
ID = "6f1f4b0e-8a4e-4e0b-9f0e-1d1b5c9a7e21"
MODEL = f.ModelEntry(id="qwen3-9b-4bit", size_bytes=5_700_000_000, model_type="qwen3", quantization="4bit")
FULL_MODEL = msgspec.structs.replace(
    MODEL,
    weight_hash="ab" * 32,
    is_vision=True,
    template_render_ok=False,
    estimated_memory_gb=6.5,
    parameters=9_000_000_000,
    tool_constraint_template_hash="cd" * 32,
    native_media_tools=True,
    ssd_offloaded_weight_bytes=1,
    native_load_transient_bytes=2,
)
BOX = f.EncryptedPayload(ephemeral_public_key=K, ciphertext="wMHCw8TFxsfIycrLzM3Oz9DR0tPU1dbXm1TZcNUGai1dE22F")

FRAMES: dict[str, Message] = {
    "register_minimal": f.Register(backend="mlx-python"),
    "register_full": f.Register(
        hardware=f.Hardware(
            machine_model="Mac15,8",
            chip_name="Apple M3 Max",
            chip_family="M3",
            chip_tier="Max",
            memory_gb=64,
            memory_available_gb=58.5,
            cpu_cores=f.CpuCores(total=16, performance=12, efficiency=4),
            gpu_cores=40,
            memory_bandwidth_gbs=400.0,
        ),
        models=(FULL_MODEL,),
        backend="mlx-python",
        version="0.6.31",
        public_key=K,
        encrypted_response_chunks=True,
        attestation=msgspec.Raw(b'{"attestation":{"publicKey":"A\\/B="},"signature":"MEUC"}'),
        prefill_tps=900.0,
        decode_tps=41.5,
        auth_token="token",
        private_only=True,
        apns_device_token="00ff",
        apns_environment="production",
        python_hash="11" * 32,
        runtime_hash="22" * 32,
        template_hashes={"mlx_metallib": "33" * 32},
        privacy_capabilities=f.PrivacyCapabilities(text_backend_inprocess=True, text_proxy_disabled=True),
        runtime_capabilities=("tools",),
        tool_constraint_protocol=1,
        tool_constraint_models=("qwen3-9b-4bit",),
        platform="linux-x86_64",
        darkbloom=f.RegisterExtension(features=("provider_drain", "capacity_seq")),
    ),
    "heartbeat_minimal": f.Heartbeat(status="idle"),
    "heartbeat_full": f.Heartbeat(
        status="serving",
        active_model="qwen3-9b-4bit",
        stats=f.Stats(
            requests_served=3,
            tokens_generated=1200,
            cancellations_received=1,
            cancellations_before_output=2,
            cancellations_partial_complete=3,
            generation_errors_after_output=4,
            chunk_encryption_errors=5,
            stream_closed_without_terminal=6,
            cancel_during_model_load=7,
            usage_gaps=8,
            cancel_stage_pre_accept_total=9,
            cancel_stage_pre_engine_total=10,
            cancel_stage_prefill_total=11,
            cancel_stage_decode_total=12,
            cancel_stage_post_terminal_total=13,
            tokens_after_cancel_total=14,
            cancel_abort_ns_sum=15,
        ),
        warm_models=("qwen3-9b-4bit",),
        system_metrics=f.SystemMetrics(memory_pressure=0.25, cpu_usage=0.5, thermal_state="nominal"),
        backend_capacity=f.BackendCapacity(
            slots=(
                f.Slot(
                    model="qwen3-9b-4bit",
                    state="running",
                    num_running=2,
                    num_waiting=1,
                    max_concurrency=8,
                    active_tokens=310,
                    max_tokens_potential=8400,
                    observed_decode_tps=41.5,
                    observed_prefill_tps=800.0,
                    active_token_budget_used=8400,
                    active_token_budget_max=96000,
                    queued_token_budget=512,
                    kv_bytes_per_token=4096,
                    model_load_time_ms=2100,
                    steps_executed=77,
                    admits=5,
                    first_tokens_emitted=4,
                    seconds_since_last_step=0.0,
                    seconds_since_last_first_token=1.5,
                    wedge_suspected=True,
                    eval_in_flight_ms=12,
                    idle_clear_in_flight_ms=13,
                    kv_backend="paged",
                    kv_backend_fallback_reason="",
                ),
            ),
            gpu_memory_active_gb=6.0,
            gpu_memory_peak_gb=7.5,
            gpu_memory_cache_gb=0.5,
            total_memory_gb=64.0,
            free_for_load_gb=0.0,
            capacity_seq=9,
        ),
        apns_device_token="00ff",
        apns_environment="development",
        idle_unload_mins=60.0,
    ),
    "inference_accepted": f.InferenceAccepted(request_id=ID),
    "inference_response_chunk_encrypted": f.InferenceResponseChunk(request_id=ID, encrypted_data=BOX),
    "inference_response_chunk_plain_violation": f.InferenceResponseChunk(request_id=ID, data="data: {}"),
    "inference_complete_minimal": f.InferenceComplete(request_id=ID),
    "inference_complete_full": f.InferenceComplete(
        request_id=ID,
        usage=f.Usage(
            prompt_tokens=12,
            completion_tokens=40,
            reasoning_tokens=5,
            cached_tokens=6,
            prefill_tokens_saved=7,
            cache_outcome="hit",
            cache_tier="memory",
        ),
        response_hash="44" * 32,
        se_signature="MEUC",
        stop_sequence="END",
        profile=msgspec.Raw(b'{"ms":1.5}'),
        darkbloom=f.CompleteExtension(receipt='{"v":2}', receipt_signature="MEUD"),
    ),
    "inference_error_minimal": f.InferenceError(
        request_id=ID, error="The provider had an internal failure.", status_code=500
    ),
    "inference_error_full": f.InferenceError(
        request_id=ID,
        error="The provider has no capacity for the request now.",
        status_code=503,
        error_reason="token_budget_exhausted",
        failure_code="capacity",
        terminal_cause="admission_timeout",
        attempt_usage=f.Usage(),
        rejection_reason="token_budget",
        available_token_budget=0,
        feasible_after_ms=1500,
        capacity_seq=9,
    ),
    "attestation_response_minimal": f.AttestationResponse(nonce=NONCE, signature="MEUC", public_key=K),
    "attestation_response_full": f.AttestationResponse(
        nonce=NONCE,
        signature="MEUC",
        status_signature="MEUD",
        public_key=K,
        rdma_disabled=True,
        sip_enabled=False,
        secure_boot_enabled=True,
        binary_hash="11" * 32,
        active_model_hash="22" * 32,
        python_hash="33" * 32,
        runtime_hash="44" * 32,
        grpc_binary_hash="55" * 32,
        image_bridge_hash="66" * 32,
        template_hashes={"mlx_metallib": "77" * 32},
        model_hashes={"qwen3-9b-4bit": "88" * 32},
        darkbloom=f.AttestationExtension(status_signature_v2="MEUE", canonical_version=2),
    ),
    "attestation_response_legacy": f.AttestationResponse(
        nonce=NONCE, signature="MEUC", public_key=K, hypervisor_active=False, sip_enabled=True
    ),
    "code_attestation_response": f.CodeAttestationResponse(nonce=NONCE, signature="MEUC"),
    "load_model_status_started": f.LoadModelStatus(model_id="qwen3-9b-4bit", status="started"),
    "load_model_status_failed": f.LoadModelStatus(
        model_id="qwen3-9b-4bit", status="failed", error="provider draining for update"
    ),
    "prefetch_model_status_downloading": f.PrefetchModelStatus(
        model_id="qwen3-9b-4bit", status="downloading", bytes_done=10, bytes_total=100
    ),
    "prefetch_model_status_verified": f.PrefetchModelStatus(model_id="qwen3-9b-4bit", status="verified"),
    "prefetch_model_status_failed": f.PrefetchModelStatus(model_id="m", status="failed", error="disk full"),
    "models_update_minimal": f.ModelsUpdate(),
    "models_update_full": f.ModelsUpdate(
        models=(MODEL, FULL_MODEL), tool_constraint_protocol=1, tool_constraint_models=("qwen3-9b-4bit",)
    ),
    "provider_drain": f.ProviderDrain(request_id=ID),
    "capacity_quote_minimal": f.CapacityQuote(quote_id="q", admissible_now=True),
    "capacity_quote_full": f.CapacityQuote(
        quote_id="q",
        capacity_seq=9,
        admissible_now=False,
        rejection_reason="token_budget",
        ttft_p50_ms=120.5,
        ttft_p90_ms=400.0,
        queue_est_ms=0.0,
        available_token_budget=0,
        confidence="high",
    ),
    "inference_request_minimal": t.InferenceRequest(request_id=ID, encrypted_body=BOX),
    "inference_request_full": t.InferenceRequest(
        request_id=ID,
        encrypted_body=BOX,
        first_content_budget_ms=5000,
        cache_scope="scope",
        cache_receipt_nonce="nonce",
    ),
    "cancel": t.Cancel(request_id=ID),
    "attestation_challenge": t.AttestationChallenge(nonce=NONCE, timestamp="2026-07-15T12:00:00Z"),
    "runtime_status_ok": t.RuntimeStatus(verified=True),
    "runtime_status_mismatch": t.RuntimeStatus(
        verified=False, mismatches=(t.Mismatch(component="template:mlx_metallib", expected="aa", got="(missing)"),)
    ),
    "trust_status_minimal": t.TrustStatus(trust_level="none", status="online"),
    "trust_status_full": t.TrustStatus(
        trust_level="self_signed", status="untrusted", reason="sip_disabled", account="token_refused"
    ),
    "load_model": t.LoadModel(model_id="qwen3-9b-4bit"),
    "prefetch_model_minimal": t.PrefetchModel(model_id="qwen3-9b-4bit"),
    "prefetch_model_full": t.PrefetchModel(model_id="qwen3-9b-4bit", priority=5),
    "desired_models_minimal": t.DesiredModels(),
    "desired_models_full": t.DesiredModels(
        models=(
            t.DesiredModel(model_name="qwen3", desired_build="qwen3-9b-4bit"),
            t.DesiredModel(model_name="llama", desired_build="llama-b", previous_build="llama-a"),
        )
    ),
    "provider_drain_ack": t.ProviderDrainAck(request_id=ID),
    "capacity_probe_minimal": t.CapacityProbe(quote_id="q", model="m", prompt_tokens_bucket=512),
    "capacity_probe_full": t.CapacityProbe(
        quote_id="q", model="m", prompt_tokens_bucket=512, max_output_tokens=64, deadline_remaining_ms=4000
    ),
    "code_attestation_resume_challenge": t.CodeAttestationResumeChallenge(code_challenge=BOX),
}

WITH_RAW_MEMBERS = {"register_full", "inference_complete_full"}
"""Their raw members keep the white space that they came with, so a re-indented frame is another message."""


def golden(name: str) -> bytes:
    return (GOLDEN / f"{name}.json").read_bytes().rstrip(b"\n")


def decode(message: Message, payload: bytes) -> Message:
    return decode_from_provider(payload) if type(message) in f.FROM_PROVIDER else decode_to_provider(payload)


@pytest.mark.parametrize("name", FRAMES)
def test_frame_is_written_as_its_golden_file(name: str) -> None:
    assert encode(FRAMES[name]).decode() == golden(name).decode()


@pytest.mark.parametrize("name", FRAMES)
def test_golden_file_is_read_as_its_frame(name: str) -> None:
    read = decode(FRAMES[name], golden(name))
    # Raw members compare by identity, so the comparison goes over the bytes that they would be written as.
    assert type(read) is type(FRAMES[name])
    assert encode(read) == encode(FRAMES[name])


@pytest.mark.parametrize("name", [name for name in FRAMES if name not in WITH_RAW_MEMBERS])
def test_golden_file_is_read_the_same_with_folded_type_and_white_space(name: str) -> None:
    members = json.loads(golden(name))
    members["TYPE"] = members.pop("type")
    assert decode(FRAMES[name], json.dumps(members, indent=1).encode()) == FRAMES[name]


def test_every_message_has_a_golden_file_and_every_file_a_message() -> None:
    assert {type(message) for message in FRAMES.values()} == {*f.FROM_PROVIDER, *t.TO_PROVIDER}
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(FRAMES)


def test_full_frames_use_every_field() -> None:
    for name, message in FRAMES.items():
        if name.endswith("_full"):
            written = json.loads(encode(message))
            legacy = {"hypervisor_active"}
            missing = set(message.__struct_fields__) - written.keys() - legacy
            assert not missing, f"{name} leaves out {missing}"


def test_heartbeat_with_null_model_equals_the_one_without() -> None:
    payload = golden("heartbeat_minimal").replace(b'"status"', b'"active_model":null,"status"', 1)
    assert decode_from_provider(payload) == FRAMES["heartbeat_minimal"]
