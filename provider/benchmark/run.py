"""One benchmark from model folder to report: a memory gate, an engine, a load and the measurements."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Literal

import trio

from provider.benchmark.measure import MeasurementFailed, endless, measure_arrival, measure_prompt, measure_table
from provider.benchmark.plan import BenchmarkPlan
from provider.benchmark.results import ArrivalResult, BenchmarkReport, Cell, Facts
from provider.engine import MAX_CONCURRENT_LIMIT, Engine, EngineFront, EngineLimits, LoadedModel
from provider.engine.own_thread import run_in_own_thread
from provider.host import Host, detect_host
from provider.memory.allocator import MlxAllocator
from provider.memory.gate import MemoryGate
from provider.memory.policy import PolicySettings
from provider.memory.system import open_system_memory
from provider.models.load import load_model
from provider.models.prompt import encode_text

Mode = Literal["table", "prompt", "arrival"]

PACKAGES: Final = ("darkbloom", "mlx", "mlx-lm")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkOptions:
    """What to measure. `prompt` belongs to the mode of that name. `weight_hash` is shown and not checked."""

    model_id: str
    directory: Path
    mode: Mode = "table"
    plan: BenchmarkPlan = field(default_factory=BenchmarkPlan)
    prompt: str = ""
    max_tokens: int = 128
    weight_hash: str = ""
    memory: PolicySettings = field(default_factory=PolicySettings)


async def run_benchmark(
    options: BenchmarkOptions, *, progress: Callable[[str], None], host: Host | None = None
) -> BenchmarkReport:
    """Load the model, measure and free it. Raises `LoadFailed` and `MeasurementFailed`."""
    machine = host or detect_host()
    hardware = await trio.to_thread.run_sync(machine.hardware)
    allocator = MlxAllocator()
    gate = MemoryGate(open_system_memory(), allocator, options.memory)
    limits = EngineLimits(max_concurrent=min(MAX_CONCURRENT_LIMIT, max(4, *options.plan.batch_sizes)))
    progress("loading")
    model = await run_in_own_thread(partial(load_model, options.model_id, options.directory), name="loader")
    gate.note_largest(model.weight_bytes)
    gate.limit_allocator()
    facts = Facts(
        model=model.model_id,
        weight_hash=options.weight_hash,
        weight_bytes=model.weight_bytes,
        load_ms=round(model.load_time_ms, 1),
        chip=hardware.chip_name,
        memory_gb=hardware.memory_gb,
        bandwidth_gbs=hardware.memory_bandwidth_gbs,
        versions={name: _version(name) for name in PACKAGES},
    )
    measured = endless(model)
    failed: MeasurementFailed | None = None
    async with EngineFront.open(headroom=gate.headroom, limits=limits) as engine:
        await engine.attach_model(measured)
        try:
            prefill, decode, parity, arrival = await _measure(engine, measured, options, progress)
        except MeasurementFailed as error:  # told outside the engine's task group, which would wrap it
            failed = error
        await engine.detach_model(measured.model_id)
    if failed is not None:
        raise failed
    return BenchmarkReport(
        facts=facts,
        prefill=prefill,
        decode=decode,
        parity=parity,
        arrival=arrival,
        peak_memory_bytes=allocator.peak(),
    )


async def _measure(
    engine: Engine, model: LoadedModel, options: BenchmarkOptions, progress: Callable[[str], None]
) -> tuple[list[Cell], list[Cell], bool | None, ArrivalResult | None]:
    plan = options.plan
    match options.mode:
        case "table":
            prefill, decode, parity = await measure_table(engine, model, plan, progress=progress)
            return prefill, decode, parity, None
        case "arrival":
            return [], [], None, await measure_arrival(engine, model, plan, progress=progress)
        case "prompt":
            tokens = encode_text(model, options.prompt).tokens
            first, rest = await measure_prompt(
                engine, model, tokens, max_tokens=options.max_tokens, iterations=plan.iterations, progress=progress
            )
            return [first], [rest], None, None


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
