"""Small SVG charts: lines over a common axis, with a legend and readable ticks; no fonts, scripts or colours needed."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH: Final = 720
HEIGHT: Final = 260
LEFT: Final = 64
RIGHT: Final = 16
TOP: Final = 40
BOTTOM: Final = 36
COLOURS: Final = ("#1f5fa8", "#c2571a", "#2d7d46", "#7b3f98")
MAX_POINTS: Final = 600


class Line(Struct, frozen=True):
    """One named line of (x, y) points in order of x."""

    name: str
    points: Sequence[tuple[float, float]]


def line_chart(title: str, lines: Sequence[Line], *, x_name: str, y_name: str) -> str:
    """Draw lines over a common axis; returns a complete SVG document. The y axis begins at 0."""
    drawn = [Line(line.name, _thinned(line.points)) for line in lines]
    xs = [x for line in drawn for x, _ in line.points] or [0.0, 1.0]
    ys = [y for line in drawn for _, y in line.points] or [0.0, 1.0]
    x_low, x_high = min(xs), max(max(xs), min(xs) + 1e-9)
    y_step = nice_step(max(*ys, 1e-9))
    y_high = y_step * math.ceil(max(*ys, 1e-9) / y_step)
    scale_x = (WIDTH - LEFT - RIGHT) / (x_high - x_low)
    scale_y = (HEIGHT - TOP - BOTTOM) / y_high

    def at(x: float, y: float) -> tuple[float, float]:
        return LEFT + (x - x_low) * scale_x, HEIGHT - BOTTOM - y * scale_y

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="11" role="img" aria-label="{escape(title)}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="16" font-size="13" font-weight="bold">{escape(title)}</text>',
    ]
    for index in range(round(y_high / y_step) + 1):
        value = index * y_step
        _, y = at(x_low, value)
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_number(value)}</text>')
    x_step = nice_step(x_high - x_low)
    for index in range(math.ceil(x_low / x_step), math.floor(x_high / x_step) + 1):
        x, _ = at(index * x_step, 0.0)
        parts.append(
            f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{_number(index * x_step)}</text>'
        )
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">{escape(x_name)}</text>')
    parts.append(f'<text x="{LEFT}" y="{TOP - 8}" text-anchor="end">{escape(y_name)}</text>')
    for index, line in enumerate(drawn):
        colour = COLOURS[index % len(COLOURS)]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in line.points))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        x = WIDTH - RIGHT - 150 * (len(drawn) - index)
        parts.append(f'<rect x="{x}" y="{TOP - 16}" width="12" height="3" fill="{colour}"/>')
        parts.append(f'<text x="{x + 16}" y="{TOP - 10}">{escape(line.name)}</text>')
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def nice_step(span: float, *, ticks: int = 5) -> float:
    """A step of 1, 2 or 5 times a power of ten that divides the span into about `ticks` parts."""
    raw = span / ticks
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if raw <= factor * power * (1 + 1e-9))


def _thinned(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """Keep every n-th point of a long line, and its last one."""
    every = -(-len(points) // MAX_POINTS)
    return points if every <= 1 else [*points[::every], points[-1]]


def _number(value: float) -> str:
    return f"{value:g}"
