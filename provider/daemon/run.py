"""The course of a daemon: protect, identify, load, connect; then drain and end.

Invariant: parts are closed in the reverse order of their opening; requests end before the engine does.
"""

import logging
import signal
from collections.abc import Sequence
from typing import Final

import trio

from protocol.identity import SoftwareSigner
from protocol.sealing import ProviderKeyPair
from provider.account import RegistrationToken, TokenFile
from provider.config import ProviderSettings
from provider.daemon.control import DaemonControl
from provider.daemon.hashing import HashKeeper
from provider.daemon.interpreter import settle_heap, tune_interpreter
from provider.daemon.inventory import Inventory, ModelUnusable, read_models
from provider.daemon.leave import drain
from provider.daemon.lock import LockHeld, take_provider_lock
from provider.daemon.options import DaemonOptions, DaemonSeams
from provider.daemon.provider import MachineFacts, Provider
from provider.daemon.start import (
    DaemonRefused,
    address_of,
    installed_version,
    judge_hardening,
    settings_of,
    timing_of,
)
from provider.daemon.upkeep import Upkeep
from provider.daemon.weight_hashes import WeightHashes
from provider.engine import Engine, EngineLimits
from provider.hardening import Hardening
from provider.host import MetricsSampler
from provider.identity import KeyFileRefused, code_roots, entry_file, file_hash, load_or_create_signer, runtime_hash
from provider.link import CoordinatorLink, LinkAddress
from provider.link.bell import Bell
from provider.memory.allocator import MlxAllocator
from provider.memory.gate import MemoryGate
from provider.memory.pressure import open_pressure
from provider.memory.system import open_system_memory
from provider.models.slots import SlotManager
from provider.observe.events import ProviderEvent
from provider.requests import RequestCounters, RequestDesk, RequestServices

log = logging.getLogger(__name__)

OPENING_THREADS: Final = 4


async def run_daemon(
    options: DaemonOptions,
    *,
    seams: DaemonSeams | None = None,
    task_status: trio.TaskStatus[DaemonControl] = trio.TASK_STATUS_IGNORED,
) -> int:
    """Serve until drained; gives the exit code of the process. Started (with a control) when it begins to connect.

    Raises `DaemonRefused` when it cannot start. Cancelling ends everything at once, without terminals.
    """
    seams = seams or DaemonSeams()
    if options.owns_process:
        tune_interpreter()
    hardening = seams.harden()
    settings = settings_of(options)
    address = address_of(options, settings)
    judge_hardening(hardening, settings)
    try:
        lock = take_provider_lock(settings.state_directory)
    except LockHeld as held:
        raise DaemonRefused(str(held)) from None
    except OSError as error:
        text = f"The directory {settings.state_directory} cannot be used ({error.strerror}); set DARKBLOOM_HOME."
        raise DaemonRefused(text) from None
    with lock:
        return await _Daemon(options, settings, seams, hardening, address).run(task_status)


class _Daemon:
    """One run."""

    def __init__(
        self,
        options: DaemonOptions,
        settings: ProviderSettings,
        seams: DaemonSeams,
        hardening: Hardening,
        address: LinkAddress,
    ) -> None:
        self._options = options
        self._settings = settings
        self._seams = seams
        self._hardening = hardening
        self._address = address
        self._bell = Bell()
        self._say = options.on_event

    async def run(self, task_status: trio.TaskStatus[DaemonControl]) -> int:
        settings, seams = self._settings, self._seams
        try:
            signer = await trio.to_thread.run_sync(load_or_create_signer, settings.state_directory)
            found = await trio.to_thread.run_sync(read_models, self._options.models)
        except (KeyFileRefused, ModelUnusable) as refused:
            raise DaemonRefused(str(refused)) from None
        facts = await trio.to_thread.run_sync(self._measure)
        inventory = Inventory(found, WeightHashes())
        hashes = HashKeeper(inventory)
        memory = open_system_memory()
        gate = seams.memory or MemoryGate(memory, MlxAllocator(), settings.memory_policy())
        limits = EngineLimits(max_concurrent=settings.max_concurrent)
        async with (
            seams.open_engine(gate.headroom, limits) as engine,
            SlotManager.open(
                engine,
                gate,
                inventory.locate,
                max_slots=settings.max_model_slots,
                load=hashes.around(seams.load),
                clock=seams.clock,
            ) as slots,
            trio.open_nursery() as nursery,
        ):
            upkeep = Upkeep(
                slots=slots,
                gate=gate,
                engine=engine,
                pressure=seams.pressure or open_pressure(memory),
                idle_timeout=settings.idle_timeout,
                pressure_interval=settings.memory_check,
            )
            nursery.start_soon(upkeep.run)
            code = await self._serve(nursery, facts, signer, inventory, hashes, gate, engine, slots, task_status)
            nursery.cancel_scope.cancel()
        self._say(ProviderEvent(kind="stopped"))
        return code

    async def _serve(
        self,
        nursery: trio.Nursery,
        facts: MachineFacts,
        signer: SoftwareSigner,
        inventory: Inventory,
        hashes: HashKeeper,
        gate: MemoryGate,
        engine: Engine,
        slots: SlotManager,
        task_status: trio.TaskStatus[DaemonControl],
    ) -> int:
        options, settings, seams = self._options, self._settings, self._seams
        keys = ProviderKeyPair.generate()
        services = RequestServices(
            engine=engine,
            slots=slots,
            keys=keys,
            signer=signer,
            is_advertised=inventory.__contains__,
            clock=seams.clock,
            wall_clock=seams.wall_clock,
            threads=trio.CapacityLimiter(OPENING_THREADS),
            renderer=trio.CapacityLimiter(1),
            counters=RequestCounters(),
        )
        desk = RequestDesk(services, nursery, on_change=self._bell.ring)
        provider = Provider(
            facts=facts,
            signer=signer,
            keys=keys,
            posture=seams.posture,
            inventory=inventory,
            engine=engine,
            slots=slots,
            gate=gate,
            desk=desk,
            metrics=MetricsSampler(seams.host),
            on_event=self._say,
            auth_token=RegistrationToken(TokenFile(settings.state_directory), self._address).read,
            clock=seams.clock,
            wall_clock=seams.wall_clock,
        )
        link = CoordinatorLink(
            self._address,
            provider,
            self._bell,
            timing=seams.timing or timing_of(settings),
            wall_clock=seams.wall_clock,
            on_event=self._say,
        )
        control = DaemonControl(link.status, desk)
        if options.owns_process:
            await nursery.start(_obey_signals, control)
        nursery.start_soon(hashes.run)
        nursery.start_soon(_ring_on_change, engine, self._bell)
        if options.preload:
            await self._preload(provider, inventory.model_ids, hashes, nursery, control)
        if options.owns_process:
            settle_heap()
        nursery.start_soon(link.run)
        task_status.started(control)
        await control.wait_drain()
        self._say(ProviderEvent(kind="draining"))
        return await drain(control, desk, link, late_after=settings.drain_timeout)

    async def _preload(
        self,
        provider: Provider,
        model_ids: Sequence[str],
        hashes: HashKeeper,
        nursery: trio.Nursery,
        control: DaemonControl,
    ) -> None:
        """Load what the slots hold, the largest first; a load that takes too long goes on behind the registration."""
        wanted = model_ids[: self._settings.max_model_slots]

        async def load_all() -> None:
            for model_id in wanted:
                await provider.load_model(model_id)
            await hashes.wait_first()
            waiters.cancel_scope.cancel()

        with trio.move_on_after(self._settings.preload_timeout) as limit:
            async with trio.open_nursery() as waiters:
                nursery.start_soon(load_all)
                await control.wait_drain()
                waiters.cancel_scope.cancel()
        if limit.cancelled_caught:
            log.warning("models still load or are hashed; registering without them")

    def _measure(self) -> MachineFacts:
        host = self._seams.host
        return MachineFacts(
            hardware=host.hardware(),
            platform=host.platform,
            os_version=host.os_version(),
            version=installed_version(),
            backend=self._settings.backend_name,
            binary_hash=file_hash(self._options.entry_file or entry_file()),
            runtime_hash=runtime_hash(code_roots()),
            hardening=self._hardening,
        )


async def _obey_signals(
    control: DaemonControl, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Drain on the first SIGTERM or SIGINT, end early on the second."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _number in signals:
            control.drain()


async def _ring_on_change(engine: Engine, bell: Bell) -> None:
    seen = engine.snapshot().change
    while True:
        seen = (await engine.wait_change(seen)).change
        bell.ring()
