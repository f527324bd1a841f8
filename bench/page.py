"""The page docs/benchmarks.md: tables of one run, with the machine, its pace and the date."""

from __future__ import annotations

import datetime
from collections.abc import Mapping

from bench.machine import Pace, description


def render(tables: Mapping[str, str], descriptions: Mapping[str, str], paces: Mapping[str, Pace]) -> str:
    """Render the page; all is keyed by benchmark name, `paces` holds how fast the machine was just before each."""
    lines = [
        "# Benchmarks",
        "",
        f"Written by `make bench` on {datetime.datetime.now(datetime.UTC):%Y-%m-%d} on {description()}.",
        "",
        "Figures are CPU per unit of work on one core. Machines differ, and one machine drifts; what counts is the",
        "ratio to a floor or a peer that was measured in the same run. Below every table stands how fast the machine",
        "was just before: a slow hour shows there first.",
        "",
    ]
    for name, table in tables.items():
        lines += [
            f"## `python -m bench {name}`",
            "",
            descriptions[name],
            "",
            table.strip(),
            "",
            f"*Just before, {paces[name]}.*",
            "",
        ]
    return "\n".join(lines)
