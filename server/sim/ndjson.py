"""Reading bounded NDJSON files into typed records; a bad line is named by its number and nothing of it is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from server.sim.errors import SimulationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

MAX_LINE_BYTES: Final = 64 * 1024
MAX_BAD_SHOWN: Final = 5

_Record = TypeVar("_Record")


def read_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file; raises `SimulationError` when it cannot be read."""
    try:
        with path.open("rb") as file:
            while line := file.readline(MAX_LINE_BYTES + 1):
                yield line
    except OSError as error:
        raise SimulationError(f"The file {str(path)!r} cannot be read ({error.strerror}); check its name.") from error


def parse(lines: Iterable[bytes], kind: type[_Record], *, what: str, limit: int) -> list[_Record]:
    """Decode one record per line, blank lines aside.

    Raises `SimulationError` with the line numbers when lines are bad, and when there are more than `limit` records.
    """
    decoder = msgspec.json.Decoder(kind)
    records: list[_Record] = []
    bad: list[str] = []
    for number, line in enumerate(lines, start=1):
        if len(line) > MAX_LINE_BYTES:
            raise SimulationError(
                f"Line {number} of the {what} is longer than {MAX_LINE_BYTES} bytes; write one record per line."
            )
        if not line.strip():
            continue
        if len(records) >= limit:
            raise SimulationError(f"The {what} holds more than {limit} records; split it.")
        try:
            records.append(decoder.decode(line))
        except msgspec.ValidationError as error:
            bad.append(f"line {number}: {error}")
        except msgspec.DecodeError:
            bad.append(f"line {number}: not a JSON object")
        if len(bad) > MAX_BAD_SHOWN:
            break
    if bad:
        shown = "; ".join(bad[:MAX_BAD_SHOWN]) + ("; and more" if len(bad) > MAX_BAD_SHOWN else "")
        raise SimulationError(f"The {what} has bad lines ({shown}); correct or remove them.")
    return records
