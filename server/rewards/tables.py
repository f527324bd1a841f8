"""Tables as text: CSV that no spreadsheet runs as a formula, and JSON lines. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, TypeAlias

import msgspec

TableFormat: TypeAlias = Literal["csv", "jsonl"]
Cell: TypeAlias = int | str | bool | None
Line: TypeAlias = Mapping[str, Cell]

CONTENT_TYPES: Final[dict[TableFormat, str]] = {
    "csv": "text/csv; charset=utf-8; header=present",
    "jsonl": "application/x-ndjson",
}
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_GUARD: Final = "'"


def table_head(columns: Sequence[str], form: TableFormat) -> bytes:
    """Give what stands before the lines: the names of the columns in CSV, nothing in JSON lines."""
    return _csv([list(columns)]) if form == "csv" else b""


def table_lines(lines: Iterable[Line], columns: Sequence[str], form: TableFormat) -> bytes:
    """Give lines as text, each ended; in CSV in the order of the columns."""
    if form == "jsonl":
        return msgspec.json.Encoder().encode_lines(list(lines))
    return _csv([[_cell(line.get(column)) for column in columns] for line in lines])


def guarded(text: str) -> str:
    """Give a text that a spreadsheet shows instead of running it: an apostrophe in front of what starts a formula."""
    return _GUARD + text if text.lstrip(" ").startswith(_FORMULA_STARTS) else text


def _cell(value: Cell) -> str | int:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return guarded(value) if isinstance(value, str) else value


def _csv(rows: Iterable[Sequence[str | int]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
