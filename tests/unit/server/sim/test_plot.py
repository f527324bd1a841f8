"""Charts are well-formed, hold their points inside the frame and stay small."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from server.sim.plot import HEIGHT, WIDTH, Line, line_chart, nice_step

SVG = "{http://www.w3.org/2000/svg}"


def _points(svg: str) -> list[list[tuple[float, float]]]:
    root = ElementTree.fromstring(svg)
    return [
        [(float(x), float(y)) for x, y in (pair.split(",") for pair in line.attrib["points"].split())]
        for line in root.iter(f"{SVG}polyline")
    ]


def test_lines_stay_inside_the_frame_and_rise_upwards() -> None:
    svg = line_chart("A & B", [Line("a<b", [(0, 0), (10, 5), (20, 10)]), Line("c", [(0, 3)])], x_name="s", y_name="n")
    first, second = _points(svg)
    assert first[0][1] > first[1][1] > first[2][1]
    assert len(second) == 1
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for line in (first, second) for x, y in line)


@pytest.mark.parametrize("points", [[], [(5.0, 0.0)], [(1.0, 2.0), (1.0, 3.0)]])
def test_little_or_nothing_to_draw_is_still_a_chart(points: list[tuple[float, float]]) -> None:
    svg = line_chart("t", [Line("a", points)], x_name="", y_name="")
    drawn = [pair for line in _points(svg) for pair in line]
    assert len(drawn) == len(points)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in drawn)


def test_a_long_line_is_thinned_and_keeps_its_end() -> None:
    svg = line_chart("t", [Line("a", [(float(x), float(x)) for x in range(100_000)])], x_name="", y_name="")
    (points,) = _points(svg)
    assert len(points) <= 700
    assert points[-1][0] == pytest.approx(WIDTH - 16, abs=1)


@pytest.mark.parametrize(("span", "step"), [(10, 2), (100, 20), (7, 2), (0.3, 0.1), (26, 10), (5, 1)])
def test_steps_are_one_two_or_five(span: float, step: float) -> None:
    assert nice_step(span) == pytest.approx(step)
