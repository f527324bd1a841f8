"""The course of a daemon: protect, identify, load, connect; then drain and end.

Invariant: parts are closed in the reverse order of their opening; requests end before the engine does.
"""

import logging
from functools import partial

import trio

from provider.benchmark.saved import saved_speeds
from provider.config import Places, ProviderSettings
from provider.daemon.control import DaemonControl
from provider.daemon.hashing import HashKeeper
from provider.daemon.interpreter import tune_interpreter
from provider.daemon.inventory import Inventory, ModelUnusable, read_models
from provider.daemon.lock import LockHeld, take_provider_lock
from provider.daemon.options import DaemonOptions, DaemonSeams
from provider.daemon.parts import Parts
from provider.daemon.provider import MachineFacts
from provider.daemon.serving import Serving
from provider.daemon.start import DaemonRefused, address_of, judge_hardening, settings_of
from provider.daemon.upkeep import Upkeep
from provider.daemon.weight_hashes import WeightHashes
from provider.engine import EngineLimits
from provider.hardening import Hardening
from provider.hardening.temporary import use_private_temporary
from provider.identity import KeyFileRefused, code_roots, entry_file, file_hash, runtime_hash
from provider.identity.enclave import EnclaveUnavailable
from provider.identity.open_signer import Identity, open_identity
from provider.link import LinkAddress
from provider.memory.allocator import MlxAllocator
from provider.memory.gate import MemoryGate
from provider.memory.pressure import open_pressure
from provider.memory.system import open_system_memory
from provider.models.hash_cache import FILE_NAME as HASH_FILE_NAME
from provider.models.hash_cache import HashCache
from provider.models.slots import SlotManager
from provider.observe.events import ProviderEvent
from provider.status.pid_file import pid_file
from provider.version import installed_version

log = logging.getLogger(__name__)


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
    address = address_of(options, settings) if options.uses_coordinator else None
    judge_hardening(hardening, settings)
    try:
        lock = take_provider_lock(settings.state_directory)
    except LockHeld as held:
        raise DaemonRefused(str(held)) from None
    except OSError as error:
        text = f"The directory {settings.state_directory} cannot be used ({error.strerror}); set DARKBLOOM_HOME."
        raise DaemonRefused(text) from None
    if options.owns_process and not use_private_temporary(settings.state_directory):
        log.warning("no private directory for temporary files below the home; libraries use the system's")
    with lock, pid_file(Places(settings.state_directory).pid_file):
        return await _Daemon(options, settings, seams, hardening, address).run(task_status)


class _Daemon:
    """One run."""

    def __init__(
        self,
        options: DaemonOptions,
        settings: ProviderSettings,
        seams: DaemonSeams,
        hardening: Hardening,
        address: LinkAddress | None,
    ) -> None:
        self._options = options
        self._settings = settings
        self._seams = seams
        self._hardening = hardening
        self._address = address
        self._say = options.on_event

    async def run(self, task_status: trio.TaskStatus[DaemonControl]) -> int:
        settings = self._settings
        try:
            identity = await trio.to_thread.run_sync(
                partial(open_identity, settings.state_directory, helper=settings.enclave_helper)
            )
        except (KeyFileRefused, EnclaveUnavailable) as refused:
            raise DaemonRefused(str(refused)) from None
        try:
            return await self._run(identity, task_status)
        finally:
            identity.close()

    async def _run(self, identity: Identity, task_status: trio.TaskStatus[DaemonControl]) -> int:
        settings, seams = self._settings, self._seams
        try:
            found = await trio.to_thread.run_sync(read_models, self._options.models)
        except ModelUnusable as refused:
            raise DaemonRefused(str(refused)) from None
        facts = await trio.to_thread.run_sync(self._measure, identity)
        inventory = Inventory(found, WeightHashes(HashCache(settings.state_directory / HASH_FILE_NAME)))
        hashes = HashKeeper(inventory)
        memory = open_system_memory()
        gate = seams.memory or MemoryGate(memory, MlxAllocator(), settings.memory_policy())
        limits = EngineLimits(
            max_concurrent=settings.max_concurrent,
            max_concurrent_by_model=settings.max_concurrent_by_model or {},
            prefill_step=settings.prefill_step,
        )
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
                thermal_state=seams.host.thermal_state,
                saves_energy=seams.saves_energy,
            )
            nursery.start_soon(upkeep.run)
            parts = Parts(
                options=self._options,
                settings=settings,
                seams=seams,
                address=self._address,
                facts=facts,
                signer=identity.signer,
                inventory=inventory,
                hashes=hashes,
                gate=gate,
                engine=engine,
                slots=slots,
                upkeep=upkeep,
            )
            refusal: DaemonRefused | None = None
            code = 0
            try:
                code = await Serving(parts, nursery).run(task_status)
            except DaemonRefused as refused:
                refusal = refused  # raised inside, it would reach the caller as a group
            nursery.cancel_scope.cancel()
        if refusal is not None:
            raise refusal
        self._say(ProviderEvent(kind="stopped"))
        return code

    def _measure(self, identity: Identity) -> MachineFacts:
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
            is_software_key=identity.is_software,
            speeds=saved_speeds(self._settings.state_directory, [model.model_id for model in self._options.models]),
        )
