"""What a provider registers, mapped to the record that routing reads; numbers are clamped, never refused."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from msgspec import structs

from protocol.semver import is_below
from server.registry.clamps import (
    MAX_BANDWIDTH_GBS,
    MAX_CORES,
    MAX_DECODE_TPS,
    MAX_MEMORY_GB,
    MAX_REGISTERED_PREFILL_TPS,
    clamp,
    clamp_int,
)
from server.registry.state import Caps, Hardware, ModelAd
from server.trust import NATIVE_BACKEND

if TYPE_CHECKING:
    from collections.abc import Iterable

    from protocol.messages.from_provider import ModelEntry, ModelsUpdate, Register
    from server.registry.catalog import Catalog
    from server.registry.policy import RoutingPolicy

log = logging.getLogger(__name__)

MAX_MODELS: Final = 1_024
PRIVATE_GRANTS_FLOOR: Final = "0.7.5"
"""Reference version from which each slot owns its token budget."""
PRIVATE_GRANTS_FEATURE: Final = "private_token_grants"
LATER_RESERVE_FLOOR: Final = "0.8.0"
"""Reference version from which a load keeps more memory for activations."""
ACTIVATION_GB: Final = 3.0
LATER_ACTIVATION_GB: Final = 5.5
TOOLS_FEATURE: Final = "tools"
TOOL_CONSTRAINT_FEATURE: Final = "tool_constraint"


def _noted(name: str, value: float | None, high: float) -> float:
    kept = clamp(value, 0.0, high)
    if value is not None and kept != value:
        log.info("register_clamped", extra={"field": name, "kept": kept})
    return kept


def offered_models(models: Iterable[ModelEntry], constraint_models: Iterable[str]) -> tuple[ModelAd, ...]:
    """Map offered models; nameless ones are left out, of duplicates the first wins, at most `MAX_MODELS` are kept."""
    constrained = frozenset(constraint_models)
    kept: dict[str, ModelAd] = {}
    for entry in models:
        if not entry.id or entry.id in kept or len(kept) >= MAX_MODELS:
            log.warning("offered_model_dropped")
            continue
        kept[entry.id] = ModelAd(
            id=entry.id,
            size_bytes=max(0, entry.size_bytes),
            weight_hash=entry.weight_hash,
            is_vision=entry.is_vision,
            template_render_ok=entry.template_render_ok,
            estimated_memory_gb=clamp(entry.estimated_memory_gb, 0.0, MAX_MEMORY_GB),
            tool_constraint=entry.id in constrained,
        )
    return tuple(kept.values())


def accepted_models(offered: Iterable[ModelAd], catalog: Catalog) -> dict[str, ModelAd]:
    """Keep the offered models that the catalogue knows and does not contradict."""
    return {ad.id: ad for ad in offered if catalog.accepts(ad)}


def caps_from_register(message: Register, *, public_key: bytes, catalog: Catalog, policy: RoutingPolicy) -> Caps:
    """Map a `register` frame; numbers are clamped, never refused. `public_key` is the checked key or empty."""
    hardware = message.hardware
    features = frozenset(message.darkbloom.features) if message.darkbloom is not None else frozenset[str]()
    constrains = message.tool_constraint_protocol > 0 or TOOL_CONSTRAINT_FEATURE in features
    offered = offered_models(
        message.models, constraint_models(message.models, message.tool_constraint_models, constrains=constrains)
    )
    return Caps(
        hardware=Hardware(
            machine_model=hardware.machine_model,
            chip_name=hardware.chip_name,
            chip_family=hardware.chip_family or "Unknown",
            chip_tier=hardware.chip_tier or "Unknown",
            memory_gb=_noted("memory_gb", hardware.memory_gb, MAX_MEMORY_GB),
            memory_bandwidth_gbs=_noted("memory_bandwidth_gbs", hardware.memory_bandwidth_gbs, MAX_BANDWIDTH_GBS),
            gpu_cores=clamp_int(hardware.gpu_cores, MAX_CORES),
            cpu_cores=(
                clamp_int(hardware.cpu_cores.total, MAX_CORES),
                clamp_int(hardware.cpu_cores.performance, MAX_CORES),
                clamp_int(hardware.cpu_cores.efficiency, MAX_CORES),
            ),
        ),
        models=accepted_models(offered, catalog),
        offered=offered,
        backend=message.backend,
        version=message.version,
        public_key=public_key if len(public_key) == 32 else b"",
        encrypted_chunks=message.encrypted_response_chunks,
        private_only=message.private_only,
        decode_tps=_noted("decode_tps", message.decode_tps, MAX_DECODE_TPS),
        prefill_tps=_noted("prefill_tps", message.prefill_tps, MAX_REGISTERED_PREFILL_TPS),
        features=features,
        tools_ok=_tools_ok(message, features, policy),
        private_grants=_private_grants(message, features),
        activation_gb=_activation_gb(message),
    )


def constraint_models(models: Iterable[ModelEntry], named: tuple[str, ...], *, constrains: bool) -> tuple[str, ...]:
    """A provider with the protocol and no list constrains tools for every model it offers."""
    if not constrains:
        return ()
    return named or tuple(entry.id for entry in models)


def _tools_ok(message: Register, features: frozenset[str], policy: RoutingPolicy) -> bool:
    if policy.tools_min_version is None:
        return True
    if message.backend == NATIVE_BACKEND:
        return not is_below(message.version, policy.tools_min_version)
    return TOOLS_FEATURE in features


def _private_grants(message: Register, features: frozenset[str]) -> bool:
    if message.backend == NATIVE_BACKEND:
        return not is_below(message.version, PRIVATE_GRANTS_FLOOR)
    return PRIVATE_GRANTS_FEATURE in features


def _activation_gb(message: Register) -> float:
    later = message.backend == NATIVE_BACKEND and message.version and not is_below(message.version, LATER_RESERVE_FLOOR)
    return LATER_ACTIVATION_GB if later else ACTIVATION_GB


def caps_from_update(caps: Caps, message: ModelsUpdate, catalog: Catalog) -> Caps:
    """Replace the offered models: the update is the whole new inventory."""
    constrains = message.tool_constraint_protocol > 0 or TOOL_CONSTRAINT_FEATURE in caps.features
    offered = offered_models(
        message.models, constraint_models(message.models, message.tool_constraint_models, constrains=constrains)
    )
    return structs.replace(caps, models=accepted_models(offered, catalog), offered=offered)
