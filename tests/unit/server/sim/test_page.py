"""The page of a run, and of two side by side."""

from __future__ import annotations

from msgspec import structs

from server.sim import make_report, simulate
from server.sim.page import charts, markdown
from tests.unit.server.sim.small_world import arrivals, setup


def _table(text: str) -> list[list[str]]:
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_every_row_of_a_comparison_has_the_same_number_of_cells() -> None:
    run = simulate(setup(arrivals(40)))
    report = make_report(run)
    slower = structs.replace(report, served_share=0.5, refusals={"queue_full": 3})
    text = markdown([("one", report), ("two", slower)], ["a.svg"])
    rows = _table(text)
    first = rows[: next(index for index, row in enumerate(rows) if row[0] == "reason")]
    assert {len(row) for row in first} == {4}
    assert ["served share of jobs", "1", "0.5", "-50.0 %"] in rows
    assert ["queue_full", "0", "3"] in rows
    assert "![a](a.svg)" in text
    assert "None" not in text


def test_charts_of_several_runs_share_their_axes() -> None:
    run = simulate(setup(arrivals(40)))
    drawn = charts([("one", run), ("two", run)])
    assert set(drawn) == {"served.svg", "ttft.svg", "queue.svg", "fleet.svg"}
    assert all(svg.count("<polyline") == 2 for svg in drawn.values())
