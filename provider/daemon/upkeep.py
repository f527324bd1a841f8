"""What a running daemon does by itself: it unloads models that nobody uses, and gives way when memory gets short.

Invariant: from the moment memory is critical until it has recovered, gate, engine and heartbeat say the same: no room.
Source: provider rules, idle unload and memory pressure.
"""

import logging
from typing import Final

import trio

from provider.engine import Engine, EngineLost
from provider.memory.gate import MemoryGate
from provider.memory.pressure import Pressure, PressureReader
from provider.models.slots import SlotManager

log = logging.getLogger(__name__)

IDLE_POLL_SECONDS: Final = 60.0
RECOVERY_SECONDS: Final = 10.0
"""How long memory must be less than critical before requests are taken again."""


class Upkeep:
    """`run` until cancelled. An `idle_timeout` or `pressure_interval` of 0 switches that part off; seconds."""

    def __init__(
        self,
        *,
        slots: SlotManager,
        gate: MemoryGate,
        engine: Engine,
        pressure: PressureReader,
        idle_timeout: float,
        pressure_interval: float,
    ) -> None:
        self._slots = slots
        self._gate = gate
        self._engine = engine
        self._pressure = pressure
        self._idle_timeout = idle_timeout
        self._interval = pressure_interval
        self._seen = Pressure.NONE
        self._last_critical = 0.0
        self._is_unloading = False

    async def run(self) -> None:
        """Look after idle models and memory."""
        async with trio.open_nursery() as nursery:
            if self._idle_timeout > 0:
                nursery.start_soon(self._unload_idle)
            if self._interval > 0:
                nursery.start_soon(self._watch_pressure, nursery)

    async def _unload_idle(self) -> None:
        while True:
            await trio.sleep(min(IDLE_POLL_SECONDS, self._idle_timeout))
            await self._unload(self._idle_timeout)

    async def _watch_pressure(self, nursery: trio.Nursery) -> None:
        while True:
            level = await trio.to_thread.run_sync(self._pressure.level)
            self._note(level)
            if level is Pressure.CRITICAL and not self._is_unloading:
                self._is_unloading = True
                nursery.start_soon(self._give_back)
            await trio.sleep(self._interval)

    def _note(self, level: Pressure) -> None:
        """Close or open the gate first and tell the engine next: whoever looks in between sees no room."""
        now = trio.current_time()
        if level is not self._seen:
            log.log(
                logging.INFO if level is Pressure.NONE else logging.WARNING,
                "memory pressure",
                extra={"pressure": level.name.lower()},
            )
        self._seen = level
        if level is Pressure.CRITICAL:
            self._last_critical = now
            if not self._gate.is_closed:
                self._gate.is_closed = True
                self._engine.set_admission(is_open=False)
        elif self._gate.is_closed and now - self._last_critical >= RECOVERY_SECONDS:
            self._gate.is_closed = False
            self._engine.set_admission(is_open=True)
        if level is not Pressure.NONE:
            self._gate.clear_cache()

    async def _give_back(self) -> None:
        """Unload what no request needs; running requests go on. A load in progress is waited for."""
        try:
            await self._unload(0)
        finally:
            self._is_unloading = False

    async def _unload(self, idle_seconds: float) -> None:
        try:
            unloaded = await self._slots.unload_idle(idle_seconds)
        except EngineLost:
            log.warning("the engine failed while it was asked to unload a model")
            return
        for model_id in unloaded:
            log.info("idle model unloaded", extra={"model": model_id, "short_of_memory": self._gate.is_closed})
