"""Choosing models with the keyboard: space marks, Enter takes, q leaves everything as it is."""

import shutil
from collections.abc import Sequence
from typing import Final

import click

from provider.cli.exits import INTERRUPTED, CommandFailed
from provider.cli.picker_choices import Choice

_UP: Final = ("\x1b[A", "k")
_DOWN: Final = ("\x1b[B", "j")
_MIN_ROWS: Final = 3
_FACTS: Final = 49
"""Columns of everything in a line but the name of its model."""

_OTHER_LINES: Final = 3
"""The question, the sum, and the line of the cursor."""


def pick(choices: Sequence[Choice], *, physical: int) -> tuple[Choice, ...]:
    """Let the user mark some of the choices; `physical` is the machine's memory in bytes.

    Raises `CommandFailed` when they leave.
    """
    return _Picker(choices, physical).run()


class _Picker:
    def __init__(self, choices: Sequence[Choice], physical: int) -> None:
        self._choices = choices
        self._marked: set[int] = set()
        self._at = 0
        self._first = 0
        self._physical = physical
        screen = shutil.get_terminal_size()
        self._columns = screen.columns - 1
        self._rows = min(len(choices), max(_MIN_ROWS, screen.lines - _OTHER_LINES))

    def run(self) -> tuple[Choice, ...]:
        click.echo("Which models should this machine offer?  space: mark   Enter: take   q: leave")
        self._draw()
        while True:
            try:
                key = click.getchar()
            except (KeyboardInterrupt, EOFError):
                key = "q"
            if key in ("q", "\x03", "\x1b"):
                raise CommandFailed("Nothing was chosen; nothing has changed.", code=INTERRUPTED)
            if key in ("\r", "\n"):
                if self._marked:
                    return tuple(self._choices[index] for index in sorted(self._marked))
                continue
            self._turn(key)
            click.echo(f"\x1b[{self._rows + 1}A", nl=False)
            self._draw()

    def _turn(self, key: str) -> None:
        if key in _UP:
            self._at = (self._at - 1) % len(self._choices)
        elif key in _DOWN:
            self._at = (self._at + 1) % len(self._choices)
        elif key == " ":
            self._marked ^= {self._at}
        self._first = min(self._at, max(self._first, self._at - self._rows + 1))

    def _draw(self) -> None:
        for index in range(self._first, self._first + self._rows):
            self._print(self._line(index))
        total = sum(self._choices[index].memory_gb for index in self._marked)
        hidden = len(self._choices) - self._rows
        more = f"   ({hidden} more above and below)" if hidden else ""
        self._print(f"  marked: {total:.1f} GB of {self._physical / 2**30:.1f} GB{more}")

    def _line(self, index: int) -> str:
        choice = self._choices[index]
        pointer, mark = (">" if index == self._at else " "), ("x" if index in self._marked else " ")
        context = f"{choice.context_tokens // 1024}k context" if choice.context_tokens else ""
        where = "" if choice.is_here else f"download {choice.disk_gb:.1f} GB"
        facts = f"{choice.memory_gb:6.1f} GB  {context:<13}  {where}".rstrip()
        room = max(8, min(48, self._columns - _FACTS))
        name = choice.model_id if len(choice.model_id) <= room else f"…{choice.model_id[1 - room :]}"
        return f"{pointer} [{mark}] {name:<{room}} {facts}"

    def _print(self, line: str) -> None:
        click.echo(f"\x1b[2K{line[: self._columns]}")
