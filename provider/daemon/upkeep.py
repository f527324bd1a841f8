"""What a running daemon does by itself: it unloads models that nobody uses, and gives way to memory and heat.

Invariant: from the moment memory or heat is critical until it has recovered, gate, engine and heartbeat say the same:
no room. Source: provider rules, idle unload, memory pressure and thermal reaction.
"""

import logging
import math
from collections.abc import Callable
from typing import Final, Literal

import trio

from provider.engine import Engine, EngineLost
from provider.memory.gate import MemoryGate
from provider.memory.pressure import Pressure, PressureReader
from provider.models.slots import SlotManager

log = logging.getLogger(__name__)

IDLE_POLL_SECONDS: Final = 10.0
"""How often unused models are looked at: so much later than asked for one may go."""

CRASH_POLL_SECONDS: Final = 10.0
"""A crashed model is reported as one in at least one heartbeat before it is unloaded."""

RECOVERY_SECONDS: Final = 10.0
"""How long memory must be less than critical before requests are taken again."""

COOLING_SECONDS: Final = 60.0
"""How long the machine must be at most fairly warm, after critical heat, before requests are taken again."""

KEPT_PREFIXES: Final = {Pressure.WARNING: 0.5, Pressure.CRITICAL: 0.0}
"""Part of the cached prompts that stays when the pressure has changed to a level."""

HOT_PART: Final = 0.5
"""Part of the rows that run together while heat is serious."""

COOL_STATES: Final = ("nominal", "fair")
Trouble = Literal["memory", "heat"]


class Upkeep:
    """`run` until cancelled. An `idle_timeout` or `pressure_interval` of 0 switches that part off; seconds.

    `thermal_state` reads the machine's heat, `saves_energy` its way to use power; both may block.
    """

    def __init__(
        self,
        *,
        slots: SlotManager,
        gate: MemoryGate,
        engine: Engine,
        pressure: PressureReader,
        idle_timeout: float,
        pressure_interval: float,
        thermal_state: Callable[[], str] = lambda: "nominal",
        saves_energy: Callable[[], bool | None] = lambda: None,
    ) -> None:
        self.low_power: bool | None = None
        """Whether the machine runs slower to use less; None where that is not known."""
        self._slots = slots
        self._gate = gate
        self._engine = engine
        self._pressure = pressure
        self._idle_timeout = idle_timeout
        self._interval = pressure_interval
        self._thermal_state = thermal_state
        self._saves_energy = saves_energy
        self._seen = Pressure.NONE
        self._heat = "nominal"
        self._last_bad: dict[Trouble, float] = {}
        self._is_unloading = False

    @property
    def pressure(self) -> Pressure:
        """How short of memory the machine was at the last look."""
        return self._seen

    async def run(self) -> None:
        """Look after idle models and memory."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._retire_crashed)
            nursery.start_soon(self._unload_idle)
            if self._interval > 0:
                nursery.start_soon(self._watch_pressure, nursery)

    async def _unload_idle(self) -> None:
        usual = self._idle_timeout if self._idle_timeout > 0 else math.inf
        while True:
            await trio.sleep(min(IDLE_POLL_SECONDS, usual))
            await self._unload(usual, heed_spans=True)

    async def _retire_crashed(self) -> None:
        """Free models that have crashed: nobody is sent to them, and what is not loaded is loaded on request."""
        while True:
            await trio.sleep(CRASH_POLL_SECONDS)
            try:
                for model_id in await self._slots.unload_crashed():
                    log.error("crashed model unloaded", extra={"model": model_id})
            except EngineLost:
                log.warning("the engine failed while it was asked to unload a model")

    async def _watch_pressure(self, nursery: trio.Nursery) -> None:
        while True:
            level, heat, self.low_power = await trio.to_thread.run_sync(self._read)
            self._note(level)
            self._note_heat(heat)
            if level is Pressure.CRITICAL and not self._is_unloading:
                self._is_unloading = True
                nursery.start_soon(self._give_back)
            await trio.sleep(self._interval)

    def _read(self) -> tuple[Pressure, str, bool | None]:
        return self._pressure.level(), self._thermal_state(), self._saves_energy()

    def _note(self, level: Pressure) -> None:
        if level is not self._seen:
            log.log(
                logging.INFO if level is Pressure.NONE else logging.WARNING,
                "memory pressure",
                extra={"pressure": level.name.lower()},
            )
            if level is not Pressure.NONE:
                self._engine.trim_prefixes(KEPT_PREFIXES[level])
        self._seen = level
        self._judge("memory", is_bad=level is Pressure.CRITICAL, recovery_seconds=RECOVERY_SECONDS)
        if level is not Pressure.NONE:
            self._gate.clear_cache()

    def _note_heat(self, heat: str) -> None:
        """Fewer rows while heat is serious, none while it is critical; a machine cools slowly, so it is given time."""
        if heat != self._heat:
            log.log(logging.INFO if heat in COOL_STATES else logging.WARNING, "heat", extra={"thermal": heat})
            if (heat in COOL_STATES) != (self._heat in COOL_STATES):
                self._engine.limit_rows(1.0 if heat in COOL_STATES else HOT_PART)
        self._heat = heat
        was_critical = "heat" in self._last_bad
        is_bad = heat == "critical" or (was_critical and heat not in COOL_STATES)
        self._judge("heat", is_bad=is_bad, recovery_seconds=COOLING_SECONDS)

    def _judge(self, trouble: Trouble, *, is_bad: bool, recovery_seconds: float) -> None:
        """Close or open the gate first and tell the engine next: whoever looks in between sees no room."""
        now = trio.current_time()
        if is_bad:
            self._last_bad[trouble] = now
        elif trouble in self._last_bad and now - self._last_bad[trouble] >= recovery_seconds:
            del self._last_bad[trouble]
        is_closed = bool(self._last_bad)
        if is_closed != self._gate.is_closed:
            self._gate.is_closed = is_closed
            self._engine.set_admission(is_open=not is_closed)

    async def _give_back(self) -> None:
        """Unload what no request needs; running requests go on. A load in progress is waited for."""
        try:
            await self._unload(0, heed_spans=False)
        finally:
            self._is_unloading = False

    async def _unload(self, idle_seconds: float, *, heed_spans: bool) -> None:
        try:
            unloaded = await self._slots.unload_idle(idle_seconds, heed_spans=heed_spans)
        except EngineLost:
            log.warning("the engine failed while it was asked to unload a model")
            return
        for model_id in unloaded:
            log.info("idle model unloaded", extra={"model": model_id, "short_of_memory": self._gate.is_closed})
