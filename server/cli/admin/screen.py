"""How admin commands show what they found: tables and facts for people, the same as JSON for programs."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from protocol.rfc3339 import format_rfc3339
from server.billing.amounts import usd6

WIDTH_OF_FILES: Final = 400
"""What goes to a file or a pipe is not folded to the width of a terminal."""

NONE: Final = "–"
_WHOLE: Final = 200
_FOLDED: Final = 24
"""What a column keeps of its cells before a line gets longer than the terminal."""


class Screen:
    """Standard output for people. No text is read as markup, and control characters are taken out."""

    def __init__(self) -> None:
        terminal = sys.stdout.isatty()
        self._console = Console(
            file=sys.stdout, markup=False, highlight=False, emoji=False, width=None if terminal else WIDTH_OF_FILES
        )
        self._width = self._console.width

    def line(self, text: str, style: str = "") -> None:
        """Print one line, however long."""
        self._console.print(Text(plain(text), style=style), soft_wrap=True)

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[object]],
        *,
        right: Sequence[str] = (),
        whole: Sequence[str] = (),
    ) -> None:
        """Print a table; `right` names the columns of numbers, `whole` those of ids, which are never folded.

        Nothing is cut off: other long cells are folded, and a table too wide for the terminal stays as wide as it is.
        """
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
        for number, column in enumerate(columns):
            table.add_column(
                column,
                justify="right" if column in right else "left",
                overflow="fold",
                min_width=min(
                    max((len(shown(row[number])) for row in rows), default=0), _WHOLE if column in whole else _FOLDED
                ),
            )
        for row in rows:
            table.add_row(*(Text(shown(cell)) for cell in row))
        needed = self._console.measure(table).minimum
        self._console.width = max(self._width, needed)
        self._console.print(table, crop=False)
        self._console.width = self._width

    def facts(self, pairs: Iterable[tuple[str, object]]) -> None:
        """Print names with their values, one a line."""
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in pairs:
            table.add_row(Text(name), Text(shown(value)))
        self._console.print(table)

    def secret(self, value: str, warning: str) -> None:
        """Print a secret that is shown this one time, on a line of its own."""
        self._console.print(Text(value, style="bold green"), soft_wrap=True)
        self.line(warning, style="yellow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a command has to say: `data` as JSON, `show` for people, then the next steps, then the exit code."""

    data: object = field(repr=False)
    show: Callable[[Screen], None]
    next_steps: tuple[str, ...] = ()
    exit_code: int = 0

    def give(self, *, as_json: bool) -> int:
        """Print it and return the exit code."""
        if as_json:
            print_json(self.data)
            return self.exit_code
        screen = Screen()
        self.show(screen)
        if self.next_steps:
            screen.line("")
            for number, step in enumerate(self.next_steps):
                screen.line(f"{'Next:' if number == 0 else '     '} {step}", style="cyan")
        return self.exit_code


def print_json(value: object) -> None:
    """Print one JSON value; in ASCII, so that no terminal and no locale changes it."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def money(micro_usd: int | None) -> str:
    """Show an amount: `$1.50`, `$0.000115`; at least two decimals, no more than it needs."""
    if micro_usd is None:
        return NONE
    whole, _, decimals = usd6(abs(micro_usd)).partition(".")
    return f"{'-' if micro_usd < 0 else ''}${whole}.{decimals[:2]}{decimals[2:].rstrip('0')}"


def time(microseconds: int | None) -> str | None:
    """Give a time as RFC 3339 in UTC."""
    return None if microseconds is None else format_rfc3339(microseconds // 1_000_000)


def minute(microseconds: int | None) -> str | None:
    """Give a time as tables show it: UTC, to the minute."""
    text = time(microseconds)
    return None if text is None else text[:16].replace("T", " ")


def shown(value: object) -> str:
    """Give a cell's text: a dash for nothing, yes and no for flags."""
    if value is None or value == "":
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    return plain(str(value))


def plain(text: str) -> str:
    """Take out what could steer a terminal."""
    return "".join(
        character if character == "\n" or unicodedata.category(character) not in ("Cc", "Cf", "Cs") else "\ufffd"
        for character in text
    )
