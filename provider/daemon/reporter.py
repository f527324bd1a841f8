"""Writing down what the daemon does, for `status`, `doctor` and dashboards.

Invariant: one writer, in a worker thread, one state after the other. Owner: the daemon's nursery.
"""

import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trio

from protocol.messages.from_provider import Hardware, Heartbeat, Slot
from provider.config import ProviderSettings
from provider.daemon.control import DaemonControl
from provider.daemon.provider import Provider
from provider.engine import Engine, EngineSnapshot
from provider.link.bell import Bell
from provider.memory import policy
from provider.memory.gate import MemoryGate
from provider.memory.policy import GIB
from provider.observe.place import last_place
from provider.observe.throughput import Throughput
from provider.schedule.keeper import ScheduleKeeper
from provider.status.process import process_start
from provider.status.record import (
    Connectivity,
    DaemonState,
    Identity,
    LoadError,
    LocalState,
    Machine,
    MemoryState,
    SlotState,
    SystemState,
    Totals,
    Trust,
)
from provider.status.state_file import write_state

log = logging.getLogger(__name__)

LEAST_SECONDS: Final = 0.25
"""Between two writes, however much happens."""


def refresh_seconds(heartbeat_interval: float) -> float:
    """How often the state is written at least."""
    return max(1.0, heartbeat_interval / 2)


@dataclass(slots=True, kw_only=True)
class Sources:
    """Where the figures come from."""

    settings: ProviderSettings
    version: str
    config_file: str
    coordinator: str | None
    hardware: Hardware
    public_key: str
    is_linked: Callable[[], bool]
    provider: Provider
    engine: Engine
    gate: MemoryGate
    control: DaemonControl
    schedule: ScheduleKeeper
    throughput: Throughput
    last_load_error: Callable[[], LoadError | None]
    idle_span: Callable[[str, float], float]
    """Seconds after its last use from which a model is unloaded, given those of any other."""
    previous_crash_at: float | None = None
    local_requests: Callable[[], int] = lambda: 0
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    phase: str = "starting"
    started_at: float = field(default=0.0)


class StateReporter:
    """`run` until cancelled; `last_word` ends the story."""

    def __init__(self, path: Path, sources: Sources) -> None:
        self._path = path
        self._sources = sources
        self._bell = Bell()
        self._is_told = False
        self._is_finished = False
        self._lock = trio.Lock()
        self._process_start = process_start(os.getpid()) or ""
        sources.started_at = sources.started_at or sources.wall_clock()

    def note(self, phase: str | None = None) -> None:
        """Something changed; it is written down soon."""
        if phase is not None:
            self._sources.phase = phase
        self._bell.ring()

    async def run(self) -> None:
        """Write every refresh period and after every change."""
        period = refresh_seconds(self._sources.settings.heartbeat_interval)
        while True:
            self._bell.clear()
            await self.write()
            await trio.sleep(LEAST_SECONDS)
            with trio.move_on_after(period - LEAST_SECONDS):
                await self._bell.wait()

    async def last_word(self) -> None:
        """Write that the daemon has stopped; a fault here must not spoil the end."""
        try:
            await self.write(stopped=True)
        except Exception as error:
            place = last_place(error)
            log.error("the last state is not written", extra={"fault": type(error).__name__, "place": place})

    async def write(self, *, stopped: bool = False) -> None:
        """Measure and write once; a disk that cannot take it is told of once. Nothing is written after `stopped`."""
        async with self._lock:
            if self._is_finished:
                return
            self._is_finished = stopped
            state = await self._measure(stopped=stopped)
            try:
                await trio.to_thread.run_sync(write_state, self._path, state)
                self._is_told = False
            except OSError as error:
                if not self._is_told:
                    log.warning("the state cannot be written", extra={"errno": error.errno})
                self._is_told = True

    async def _measure(self, *, stopped: bool) -> DaemonState:
        sources = self._sources
        beat = await sources.provider.heartbeat(0)
        snapshot = sources.engine.snapshot()
        now = sources.wall_clock()
        return DaemonState(
            pid=os.getpid(),
            process_start=self._process_start,
            version=sources.version,
            written_at=now,
            started_at=sources.started_at,
            refresh_seconds=refresh_seconds(sources.settings.heartbeat_interval),
            phase="stopped" if stopped else self._phase(),
            stopped_at=now if stopped else None,
            previous_crash_at=sources.previous_crash_at,
            config_file=sources.config_file,
            trust=self._trust(),
            current_model=beat.active_model,
            warm_models=beat.warm_models,
            advertised_models=tuple(entry.id for entry in sources.provider.models()),
            inference_active=beat.active_model is not None,
            engine_health=sources.engine.health.value,
            stats=self._totals(beat),
            system=SystemState(
                memory_pressure=beat.system_metrics.memory_pressure,
                cpu_usage=beat.system_metrics.cpu_usage,
                thermal_state=beat.system_metrics.thermal_state,
            ),
            machine=_machine(sources.hardware),
            capacity=self._memory(beat, snapshot),
            slots=self._slots(beat, snapshot, now),
            idle_unload_minutes=sources.settings.idle_timeout / 60,
            last_model_load_error=sources.last_load_error(),
            connectivity=self._connectivity(),
            schedule=sources.schedule.state(),
            identity=Identity(
                provider_name=sources.settings.provider_name or default_name(sources.hardware),
                linked=sources.is_linked(),
                public_key=sources.public_key,
            ),
            local=self._local(),
        )

    def _phase(self) -> str:
        sources = self._sources
        if sources.control.is_draining:
            return "draining"
        if sources.phase == "serving" and not sources.schedule.takes_requests:
            return "paused"
        return sources.phase

    def _trust(self) -> Trust | None:
        status = self._sources.control.status
        if status.trust is None:
            return None
        return Trust(
            level=status.trust.trust_level[:64],
            status=status.trust.status[:64],
            reason=status.trust.reason[:256],
            account=status.trust.account[:64],
            received_at=status.trust_at,
        )

    def _connectivity(self) -> Connectivity:
        status = self._sources.control.status
        return Connectivity(
            coordinator=self._sources.coordinator,
            connected=status.connected,
            registered=status.registered,
            reconnect_count=status.reconnects,
            last_error=status.last_error,
            since=status.since,
        )

    def _totals(self, beat: Heartbeat) -> Totals:
        sources = self._sources
        return Totals(
            requests_served=beat.stats.requests_served,
            tokens_generated=beat.stats.tokens_generated,
            in_flight=sources.control.in_flight,
            tokens_per_second=round(sources.throughput.per_second(sources.clock()), 1),
            usage_gaps=beat.stats.usage_gaps,
        )

    def _memory(self, beat: Heartbeat, snapshot: EngineSnapshot) -> MemoryState:
        gate, capacity = self._sources.gate, beat.backend_capacity
        assert capacity is not None
        physical = gate.read().physical
        cap = policy.effective_cap(physical, self._sources.settings.mem_cap_fraction, gate.reserves())
        weights = sum(slot.weight_bytes for slot in snapshot.slots) / GIB
        return MemoryState(
            cap_gb=cap / GIB,
            weights_gb=weights,
            kv_gb=max(0.0, capacity.gpu_memory_active_gb - weights),
            active_gb=capacity.gpu_memory_active_gb,
            peak_gb=capacity.gpu_memory_peak_gb,
            cache_gb=capacity.gpu_memory_cache_gb,
            free_for_load_gb=capacity.free_for_load_gb or 0.0,
        )

    def _slots(self, beat: Heartbeat, snapshot: EngineSnapshot, now: float) -> tuple[SlotState, ...]:
        assert beat.backend_capacity is not None
        return tuple(_slot(slot, self._unloads_at(slot, snapshot, now)) for slot in beat.backend_capacity.slots)

    def _unloads_at(self, slot: Slot, snapshot: EngineSnapshot, now: float) -> float | None:
        timeout = self._sources.settings.idle_timeout
        span = self._sources.idle_span(slot.model, timeout if timeout > 0 else math.inf)
        found = snapshot.slot(slot.model)
        if found is None or math.isinf(span) or slot.num_running or slot.num_waiting:
            return None
        return now + max(0.0, span - (self._sources.clock() - found.last_used_at))

    def _local(self) -> LocalState | None:
        url = self._sources.control.local_url
        return LocalState(base_url=url, requests=self._sources.local_requests()) if url else None


def default_name(hardware: Hardware) -> str:
    """Name a machine after its model: `darkbloom-mac16-1`."""
    return "darkbloom-" + "-".join(hardware.machine_model.lower().replace(",", "-").split())


def _machine(hardware: Hardware) -> Machine:
    return Machine(
        chip=hardware.chip_name,
        memory_gb=hardware.memory_gb,
        gpu_cores=hardware.gpu_cores,
        bandwidth_gbs=hardware.memory_bandwidth_gbs,
    )


def _slot(slot: Slot, unloads_at: float | None) -> SlotState:
    return SlotState(
        model=slot.model,
        state=slot.state,
        running=slot.num_running,
        waiting=slot.num_waiting,
        max_concurrency=slot.max_concurrency,
        decode_tps=slot.observed_decode_tps,
        prefill_tps=slot.observed_prefill_tps,
        token_budget_used=slot.active_token_budget_used,
        token_budget_max=slot.active_token_budget_max,
        load_time_ms=slot.model_load_time_ms,
        seconds_since_last_step=slot.seconds_since_last_step,
        wedge_suspected=slot.wedge_suspected,
        unloads_at=unloads_at,
    )
