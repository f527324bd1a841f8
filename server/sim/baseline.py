"""Committed figures of the scenarios, and what counts as a step back from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from server.sim.errors import SimulationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from server.sim.report import Report

BASELINE_SCENARIOS: Final = ("steady", "burst", "overload", "black_holes", "chips", "turns")
GOODPUT_LOSS: Final = 0.01
TTFT_GROWTH: Final = 0.05
FAIRNESS_LOSS: Final = 0.02
WASTE_GROWTH: Final = 0.10
WASTE_FREE: Final = 200
"""Tokens: so little waste is no matter, whatever it was before."""


class Figures(Struct, frozen=True, kw_only=True):
    """What a later version is held to, for one scenario and seed."""

    seed: int
    goodput_per_second: float
    ttft_p99_ms: float
    fairness: float
    wasted_tokens: int


def figures(report: Report) -> Figures:
    """The figures of a run that are kept."""
    return Figures(
        seed=report.seed,
        goodput_per_second=round(report.goodput_per_second, 4),
        ttft_p99_ms=round(report.ttft_ms.p99 or 0.0, 1),
        fairness=round(report.fairness or 0.0, 4),
        wasted_tokens=report.wasted_tokens,
    )


def steps_back(before: Figures, now: Figures) -> list[str]:
    """Say in one sentence each where a run is worse than the baseline by more than is allowed."""
    found = []
    if now.goodput_per_second < before.goodput_per_second * (1 - GOODPUT_LOSS):
        found.append(f"Goodput fell from {before.goodput_per_second} to {now.goodput_per_second} a second.")
    if now.ttft_p99_ms > before.ttft_p99_ms * (1 + TTFT_GROWTH):
        found.append(f"The p99 of the time to first token grew from {before.ttft_p99_ms} to {now.ttft_p99_ms} ms.")
    if now.fairness < before.fairness - FAIRNESS_LOSS:
        found.append(f"Fairness fell from {before.fairness} to {now.fairness}.")
    if now.wasted_tokens > max(WASTE_FREE, before.wasted_tokens * (1 + WASTE_GROWTH)):
        found.append(f"Wasted tokens grew from {before.wasted_tokens} to {now.wasted_tokens}.")
    return found


def read_baseline(path: Path) -> dict[str, Figures]:
    """Read the figures by scenario; raises `SimulationError` when the file cannot be used."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Figures])
    except OSError as error:
        raise SimulationError(
            f"The baseline {str(path)!r} cannot be read ({error.strerror}); check its name."
        ) from error
    except msgspec.DecodeError as error:
        raise SimulationError(f"The baseline {str(path)!r} is not usable ({error}); write it anew.") from error


def write_baseline(path: Path, by_scenario: Mapping[str, Figures]) -> None:
    """Write the figures by scenario, in order of name."""
    ordered = {name: by_scenario[name] for name in sorted(by_scenario)}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(ordered)) + b"\n")
