"""What a daemon is started with, and the seams where tests put their own parts."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from provider.config import ProviderSettings
from provider.engine import Engine, EngineFront, EngineLimits, LoadedModel
from provider.hardening import Hardening, harden
from provider.host import Host, detect_host
from provider.host.power import Wakefulness, open_wakefulness, saves_energy
from provider.identity import PostureReader, detect_posture
from provider.link import LinkTiming
from provider.local.options import LocalOptions
from provider.memory.gate import MemoryGate
from provider.memory.pressure import PressureReader
from provider.models.source import ModelSource, load_from_source
from provider.observe.events import ProviderEvent, ignore_event
from provider.schedule.keeper import local_now
from provider.schedule.user_idle import user_idle_seconds


@dataclass(frozen=True, slots=True)
class OfferedModel:
    """A model folder on this machine and the id under which it is offered."""

    model_id: str
    directory: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonOptions:
    """`models` are offered and, as far as the slots reach, loaded before the registration.

    `settings` None reads the environment; `coordinator_url` wins over the settings; without `uses_coordinator` none is
    connected. `owns_process` takes over signals and interpreter settings, as a process of its own may. `entry_file`
    None is the file that started this process. `local` serves programs on this machine too. `reload_level` gives the
    log level anew on SIGHUP. `is_service` says that something starts this process again when it asks for it.
    """

    models: tuple[OfferedModel, ...]
    coordinator_url: str | None = None
    settings: ProviderSettings | None = None
    preload: bool = True
    uses_coordinator: bool = True
    local: LocalOptions | None = None
    config_file: str = ""
    is_service: bool = False
    reload_level: Callable[[], None] = lambda: None
    owns_process: bool = True
    entry_file: Path | None = None
    on_event: Callable[[ProviderEvent], None] = ignore_event


OpenEngine = Callable[[Callable[[], int], EngineLimits], AbstractAsyncContextManager[Engine]]


@asynccontextmanager
async def open_mlx_engine(headroom: Callable[[], int], limits: EngineLimits) -> AsyncIterator[Engine]:
    """Run the real engine."""
    async with EngineFront.open(headroom=headroom, limits=limits) as engine:
        yield engine


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonSeams:
    """Parts that touch the machine; `memory` and `pressure` None measure it.

    `clock` is the engine's, `wall_clock` gives Unix seconds, `local_now` the machine's own time of day.
    """

    harden: Callable[[], Hardening] = harden
    host: Host = field(default_factory=detect_host)
    posture: PostureReader = field(default_factory=detect_posture)
    wakefulness: Wakefulness = field(default_factory=open_wakefulness)
    saves_energy: Callable[[], bool | None] = saves_energy
    open_engine: OpenEngine = open_mlx_engine
    load: Callable[[ModelSource], LoadedModel] = load_from_source
    memory: MemoryGate | None = None
    pressure: PressureReader | None = None
    timing: LinkTiming | None = None
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    local_now: Callable[[], datetime] = local_now
    user_idle_seconds: Callable[[], float | None] = user_idle_seconds
