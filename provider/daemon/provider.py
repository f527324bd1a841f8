"""What stands behind the connection: registration, challenges, heartbeats, model loads and requests of this machine."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec
import trio

from protocol.identity import Posture, Signer, build_attestation, build_challenge_reply
from protocol.messages.from_provider import (
    AttestationResponse,
    CapacityQuote,
    CapacityTelemetry,
    Hardware,
    Heartbeat,
    ModelEntry,
    PrefetchModelStatus,
    Register,
    RegisterExtension,
)
from protocol.messages.register import RAW_PROMPTS
from protocol.messages.to_provider import AttestationChallenge, CapacityProbe, DesiredModel, InferenceRequest
from protocol.rfc3339 import format_rfc3339
from protocol.sealing import ProviderKeyPair
from protocol.vocabulary import DRAINING_TEXT
from provider.benchmark.saved import SavedSpeeds
from provider.daemon.inventory import Inventory
from provider.daemon.prefetching import Prefetcher
from provider.daemon.reports import build_heartbeat
from provider.engine import Engine
from provider.hardening import Hardening
from provider.host import MetricsSampler
from provider.identity import PostureReader, attestation_facts
from provider.memory.capacity import measure_capacity
from provider.memory.gate import MemoryGate
from provider.memory.quote import quote_capacity
from provider.models.slots import SlotManager
from provider.models.source import LoadRefused
from provider.observe.events import ProviderEvent
from provider.observe.meter import RequestMeter
from provider.requests import FrameLane, RequestDesk, enforces_tools

log = logging.getLogger(__name__)

FEATURES: Final = ("tools", RAW_PROMPTS)
"""What this provider can do, for a coordinator that would otherwise judge by version floors: it reads tool calls, and
continues raw prompts.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFacts:
    """What was measured once, at start."""

    hardware: Hardware
    platform: str
    os_version: str
    version: str
    backend: str
    binary_hash: str
    runtime_hash: str
    hardening: Hardening
    is_software_key: bool = True
    speeds: SavedSpeeds | None = None


class Provider:
    """Implements `provider.link.ProviderPort`. Trio thread only.

    `auth_token` reads the token that links this machine to an account, "" without one; it runs in another thread.
    `is_private` keeps the machine for its own account. Without `keeps_prefixes` no request may leave a stored prefix.
    `telemetry` gives the heartbeat's measurements.
    """

    def __init__(
        self,
        *,
        facts: MachineFacts,
        signer: Signer,
        keys: ProviderKeyPair,
        posture: PostureReader,
        inventory: Inventory,
        engine: Engine,
        slots: SlotManager,
        gate: MemoryGate,
        desk: RequestDesk,
        metrics: MetricsSampler,
        on_event: Callable[[ProviderEvent], None],
        auth_token: Callable[[], str],
        meter: RequestMeter,
        is_private: bool = False,
        telemetry: Callable[[], CapacityTelemetry],
        idle_unload_minutes: float,
        keeps_prefixes: bool,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._prefetcher: Prefetcher | None = None
        self._facts = facts
        self._signer = signer
        self._keys = keys
        self._posture = posture
        self._inventory = inventory
        self._engine = engine
        self._slots = slots
        self._gate = gate
        self._desk = desk
        self._metrics = metrics
        self._on_event = on_event
        self._auth_token = auth_token
        self._meter = meter
        self._is_private = is_private
        self._telemetry = telemetry
        self._idle_unload_minutes = idle_unload_minutes
        self._keeps_prefixes = keeps_prefixes
        self._clock = clock
        self._wall_clock = wall_clock
        self._posture_thread = trio.CapacityLimiter(2)

    def note_hardening(self, hardening: Hardening) -> None:
        """Say from now on what protects this process."""
        self._facts = replace(self._facts, hardening=hardening)

    @property
    def hardening(self) -> Hardening:
        """What protects this process."""
        return self._facts.hardening

    async def register_frame(self, registration_nonce: str) -> Register:
        """Build the registration; its blob is signed with this moment's time, its token is the present one."""
        facts = self._facts
        posture = await trio.to_thread.run_sync(self._posture.read, limiter=self._posture_thread)
        attestation = build_attestation(
            self._signer,
            facts=attestation_facts(
                hardware=facts.hardware,
                platform=facts.platform,
                os_version=facts.os_version,
                posture=posture,
                binary_hash=facts.binary_hash,
                is_software_key=facts.is_software_key,
                registration_nonce=registration_nonce,
            ),
            encryption_public_key=self._keys.public_text,
            timestamp=format_rfc3339(self._wall_clock()),
        )
        constrained = self.constrained_models()
        speeds = facts.speeds
        return Register(
            hardware=facts.hardware,
            models=self._inventory.entries(),
            backend=facts.backend,
            version=facts.version,
            public_key=self._keys.public_text,
            encrypted_response_chunks=True,
            auth_token=await trio.to_thread.run_sync(self._auth_token),
            attestation=attestation,
            runtime_hash=facts.runtime_hash,
            privacy_capabilities=facts.hardening.capabilities(sip_enabled=posture.sip_enabled),
            platform=facts.platform,
            private_only=self._is_private,
            prefill_tps=None if speeds is None else speeds.prefill_tps,
            decode_tps=None if speeds is None else speeds.decode_tps,
            tool_constraint_protocol=int(bool(constrained)),
            tool_constraint_models=constrained,
            darkbloom=RegisterExtension(features=FEATURES),
        )

    async def challenge_reply(self, challenge: AttestationChallenge) -> AttestationResponse:
        """Measure the posture and sign it, with the hashes of all resident models."""
        facts = self._facts
        measured = await trio.to_thread.run_sync(self._posture.read, limiter=self._posture_thread)
        hashes = {model: found for model in self._slots.resident if (found := self._inventory.hash_of(model))}
        active = next((model for model in reversed(self._slots.resident) if model in hashes), "")
        posture = Posture(
            sip_enabled=measured.sip_enabled,
            secure_boot_enabled=measured.secure_boot_enabled,
            rdma_disabled=measured.rdma_disabled,
            binary_hash=facts.binary_hash,
            active_model_hash=hashes.get(active, ""),
            runtime_hash=facts.runtime_hash,
            model_hashes=hashes,
        )
        return build_challenge_reply(
            self._signer, challenge.nonce, challenge.timestamp, posture, self._keys.public_text
        )

    async def heartbeat(self, capacity_seq: int) -> Heartbeat:
        """Measure load and capacity; the machine's metrics are at most a second old."""
        metrics = await self._metrics.sample()
        self._gate.trim_cache()
        engine = self._engine
        return build_heartbeat(
            capacity=measure_capacity(
                engine.snapshot(),
                self._gate,
                health=engine.health,
                now=self._clock(),
                in_flight=self._desk.in_flight,
            ),
            capacity_seq=capacity_seq,
            warm_models=self._slots.resident,
            loading_models=self._slots.loading,
            in_flight=self._desk.in_flight,
            is_draining=self._desk.is_draining,
            stats=self._desk.services.counters.as_stats(),
            metrics=metrics,
            telemetry=self._telemetry(),
            idle_unload_minutes=self._idle_unload_minutes,
        )

    def models(self) -> tuple[ModelEntry, ...]:
        """Give all offered models."""
        return self._inventory.entries()

    def constrained_models(self) -> tuple[str, ...]:
        """Give the resident models whose forced tool calls are enforced."""
        resident = ((name, self._slots.get(name)) for name in self._slots.resident)
        return tuple(sorted(name for name, model in resident if model is not None and enforces_tools(model)))

    @property
    def models_version(self) -> int:
        """Grows whenever `models` changes."""
        return self._inventory.version

    async def wait_models(self, seen: int) -> int:
        """Wait until the models differ from what was seen."""
        return await self._inventory.wait_change(seen)

    async def load_model(self, model_id: str) -> str | None:
        """Make a model resident; gives the wire's error text when it cannot be."""
        if self._desk.is_draining:
            return DRAINING_TEXT
        if self._slots.get(model_id) is not None:
            return None
        self._on_event(ProviderEvent(kind="model_loading", model=model_id))
        self._desk.note_load()
        try:
            with self._slots.pin(model_id):
                await self._slots.ensure_loaded(model_id)
        except LoadRefused as refused:
            log.error("model not loaded", extra={"model": model_id, "why": str(refused)})
            self._on_event(ProviderEvent(kind="model_failed", model=model_id, text=str(refused)))
            # What is wrong with a folder names its place on this machine; that is for the log and the display here.
            return f"The model {model_id} does not work on this machine." if refused.kind == "broken" else str(refused)
        finally:
            self._desk.note_load()
        self._on_event(ProviderEvent(kind="model_loaded", model=model_id))
        if model_id in self.constrained_models():
            self._inventory.note_change()
        return None

    def use_prefetcher(self, prefetcher: Prefetcher) -> None:
        """Let the coordinator have models downloaded here."""
        self._prefetcher = prefetcher

    async def prefetch_model(self, model_id: str, report: Callable[[PrefetchModelStatus], None]) -> None:
        """Download a model in the background."""
        if self._prefetcher is not None:
            await self._prefetcher.prefetch(model_id, report)

    def desire_models(self, models: Sequence[DesiredModel]) -> None:
        """Note which builds the coordinator wants here."""
        if self._prefetcher is not None:
            self._prefetcher.desire(models)

    def quote(self, probe: CapacityProbe, capacity_seq: int) -> CapacityQuote:
        """Judge a request by the published snapshot; takes no lock and reserves nothing."""
        return quote_capacity(
            probe,
            self._engine.snapshot().slot(probe.model),
            capacity_seq=capacity_seq,
            takes_requests=not self._desk.is_draining,
            headroom=self._gate.headroom(),
            like=self._meter.first_tokens.like(probe.model, probe.prompt_tokens_bucket),
        )

    def accept_request(self, message: InferenceRequest, lane: FrameLane) -> None:
        """Hand a request to the desk."""
        if not self._keeps_prefixes:
            message = msgspec.structs.replace(message, cache_scope="")
        self._desk.accept(message, self._meter.lane(lane, source="coordinator"))

    def cancel_request(self, request_id: str) -> None:
        """End a request early."""
        self._desk.cancel(request_id)

    def connection_lost(self, owner: object) -> None:
        """Cancel what came over a connection that is gone."""
        self._desk.drop_lane(owner)
