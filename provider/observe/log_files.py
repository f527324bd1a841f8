"""Reading the log that the daemon wrote: the newest lines over all its files, and what comes after them."""

import json
import os
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from provider.observe.setup import OLD_FILES

LEVELS: Final = {"debug": 0, "info": 1, "warn": 2, "error": 3}
_LEADING: Final = ("ts", "level", "logger", "msg")


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line; `at` is Unix seconds, 0 for a line that is not ours."""

    raw: str
    at: float
    level: str
    fields: dict[str, object]

    def text(self) -> str:
        """The line for people, in local time."""
        if not self.fields:
            return self.raw
        moment = datetime.fromtimestamp(self.at).strftime("%Y-%m-%d %H:%M:%S")
        rest = [f"{name}={value}" for name, value in self.fields.items() if name not in _LEADING]
        where, what = str(self.fields.get("logger", "")), str(self.fields.get("msg", ""))
        return " ".join([moment, self.level.upper().ljust(5), where, what, *rest])


def parse_line(raw: str) -> LogLine:
    """Read one line; one that is no JSON of ours keeps its text."""
    try:
        fields = json.loads(raw)
        at = datetime.fromisoformat(str(fields["ts"])).timestamp()
        return LogLine(raw, at, str(fields.get("level", "info")), fields)
    except (ValueError, KeyError, TypeError):
        return LogLine(raw, 0.0, "info", {})


def read_log(path: Path, *, lines: int, since: float | None = None, least: str = "info") -> list[LogLine]:
    """Give the newest lines, the oldest first, that are at least of this level and not older than `since`."""
    kept: deque[LogLine] = deque(maxlen=lines)
    files = [path.with_name(f"{path.name}.{number}") for number in range(OLD_FILES, 0, -1)] + [path]
    for file in files:
        try:
            with file.open(encoding="utf-8", errors="replace") as stream:
                for raw in stream:
                    entry = parse_line(raw.rstrip("\n"))
                    if _is_wanted(entry, since, least):
                        kept.append(entry)
        except OSError:
            continue
    return list(kept)


def follow_log(path: Path, *, least: str = "info", poll: float = 0.25) -> Iterator[LogLine]:
    """Give lines as they are written, for ever; a file that was replaced is followed by its successor."""
    stream = path.open(encoding="utf-8", errors="replace")
    stream.seek(0, 2)
    try:
        pending = ""
        while True:
            piece = stream.readline()
            if piece:
                pending += piece
                if pending.endswith("\n"):
                    entry = parse_line(pending.rstrip("\n"))
                    pending = ""
                    if _is_wanted(entry, None, least):
                        yield entry
                continue
            time.sleep(poll)
            try:
                if path.stat().st_ino != os.fstat(stream.fileno()).st_ino:
                    stream.close()
                    stream = path.open(encoding="utf-8", errors="replace")
            except FileNotFoundError:
                continue
    finally:
        stream.close()


def _is_wanted(entry: LogLine, since: float | None, least: str) -> bool:
    return LEVELS.get(entry.level, 1) >= LEVELS[least] and (since is None or entry.at == 0.0 or entry.at >= since)
