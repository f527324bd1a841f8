"""A trace: when which request arrived and how long its answer was. NDJSON, one arrival per line, no content in it."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta, Struct

from server.sim.errors import SimulationError
from server.sim.ndjson import parse, read_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

MAX_ARRIVALS: Final = 2_000_000
MAX_TOKENS: Final = 2_000_000
DEFAULT_OUTPUT: Final = 180
"""Tokens of an answer whose length nobody recorded."""

Tokens = Annotated[int, Meta(ge=0, le=MAX_TOKENS)]
Milliseconds = Annotated[float, Meta(ge=0, le=366 * 86_400_000)]
Label = Annotated[str, Meta(max_length=128)]


class Arrival(Struct, frozen=True, gc=False, omit_defaults=True):
    """One request; times in ms from the beginning of the trace, lengths in tokens.

    `account` and `prefix` are hashes. `prefix_tokens` of the prompt are shared with earlier requests of the same
    prefix. `actual_ttft_ms` and `served_by` tell what happened when the trace was recorded.
    """

    t_ms: Milliseconds
    model: Label
    prompt: Tokens
    max_tokens: Annotated[int, Meta(ge=1, le=MAX_TOKENS)] = 256
    out: Tokens | None = None
    account: Label | None = None
    tools: bool = False
    vision: bool = False
    prefix: Label | None = None
    prefix_tokens: Tokens = 0
    actual_ttft_ms: Milliseconds | None = None
    served_by: Label | None = None

    @property
    def answer_tokens(self) -> int:
        """Tokens of the answer, at least one and never above the bound."""
        wanted = self.out if self.out is not None else DEFAULT_OUTPUT
        return max(1, min(wanted, self.max_tokens))


def read_trace(path: Path) -> list[Arrival]:
    """Read a trace in order of time; raises `SimulationError` for bad lines, an empty file, or too many arrivals."""
    return in_order(parse(read_lines(path), Arrival, what="trace", limit=MAX_ARRIVALS))


def in_order(arrivals: Iterable[Arrival]) -> list[Arrival]:
    """Sort by time, keeping the order of those at the same moment; an empty trace is an error."""
    found = sorted(arrivals, key=attrgetter("t_ms"))
    if not found:
        raise SimulationError("The trace holds no arrival; give one with at least one line.")
    return found


def write_trace(path: Path, arrivals: Sequence[Arrival]) -> None:
    """Write a trace that `read_trace` reads back."""
    encoder = msgspec.json.Encoder()
    with path.open("wb") as file:
        for arrival in arrivals:
            file.write(encoder.encode(arrival) + b"\n")


def prompt_range(low: int, high: int, count: int) -> list[int]:
    """Return `count` prompt sizes spread evenly over [low, high): low + floor(i·(high − low)/count)."""
    if count < 1 or high <= low or low < 0:
        raise SimulationError(
            f"The range {low}..{high} in {count} steps is empty; give low < high and one step or more."
        )
    return [low + index * (high - low) // count for index in range(count)]
