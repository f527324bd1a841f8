"""How fast this machine runs a model: the measurements behind `darkbloom benchmark`."""

from provider.benchmark.measure import measure_arrival, measure_prompt, measure_table
from provider.benchmark.plan import BenchmarkPlan, parse_sizes
from provider.benchmark.results import ArrivalResult, BenchmarkReport, Cell, Facts, Samples
from provider.benchmark.run import BenchmarkOptions, run_benchmark
from provider.benchmark.saved import SavedSpeeds, save_speeds, saved_speeds

__all__ = [
    "ArrivalResult",
    "BenchmarkOptions",
    "BenchmarkPlan",
    "BenchmarkReport",
    "Cell",
    "Facts",
    "Samples",
    "SavedSpeeds",
    "measure_arrival",
    "measure_prompt",
    "measure_table",
    "parse_sizes",
    "run_benchmark",
    "save_speeds",
    "saved_speeds",
]
