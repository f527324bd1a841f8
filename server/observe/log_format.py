"""Log lines: one JSON object each, or a form for people; exceptions as type and place, never with values."""

from __future__ import annotations

import json
import logging
import traceback
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final

from server.observe import context
from server.observe.redact import redact, redact_text

_ROOT: Final = Path(__file__).resolve().parents[2]
_MAX_FRAMES: Final = 16
_MAX_LEAVES: Final = 8
_LEVELS: Final = {logging.DEBUG: "debug", logging.INFO: "info", logging.WARNING: "warn", logging.ERROR: "error"}
# What every record has; the rest was given as `extra`.
_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class JsonFormatter(logging.Formatter):
    """One JSON object: ts, level, msg, logger, then what the context and the caller add."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its newline."""
        return json.dumps(line_fields(record), ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=str)


class TextFormatter(logging.Formatter):
    """One line for people: time, level, area, message, name=value."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its newline."""
        fields = line_fields(record)
        moment = datetime.fromtimestamp(record.created).strftime("%H:%M:%S.%f")[:-3]
        shown = [moment, str(fields["level"]).upper().ljust(5), str(fields["logger"]), str(fields["msg"])]
        for name, value in fields.items():
            if name not in ("ts", "level", "msg", "logger"):
                text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
                shown.append(f"{name}={text}")
        return " ".join(shown).replace("\n", "\\n").replace("\r", "\\r")


def line_fields(record: logging.LogRecord) -> dict[str, object]:
    """Return everything a line says, redacted; the caller's attributes never replace the fixed four."""
    fields: dict[str, object] = {
        "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "level": level_name(record.levelno),
        "msg": redact_text(record.getMessage()),
        "logger": area(record.name),
    }
    fields |= context.current()
    for name, value in vars(record).items():
        if name not in _OWN and name not in ("ts", "level", "logger"):
            fields[name] = redact(name, _finite(value))
    if record.exc_info and record.exc_info[1] is not None:
        fields |= describe_exception(record.exc_info[1])
    return fields


def level_name(levelno: int) -> str:
    """Return debug, info, warn or error."""
    return _LEVELS[min(max(levelno // 10 * 10, logging.DEBUG), logging.ERROR)]


def area(logger_name: str) -> str:
    """Return the part of a logger's name that settings and lines use: `registry.queue` of `server.registry.queue`."""
    for prefix in ("darkbloom.", "server."):
        if logger_name.startswith(prefix):
            return logger_name[len(prefix) :]
    return logger_name


def describe_exception(error: BaseException) -> dict[str, object]:
    """Return type, place and stack of an exception, and the types inside a group; its text and values stay out."""
    described: dict[str, object] = {"error": _type_name(error), "at": _place(error.__traceback__)}
    if isinstance(error, BaseExceptionGroup):
        leaves = list(_leaves(error))
        described["inside"] = [f"{_type_name(leaf)} at {_place(leaf.__traceback__)}" for leaf in leaves[:_MAX_LEAVES]]
    frames = traceback.extract_tb(error.__traceback__)[-_MAX_FRAMES:]
    described["stack"] = [f"{_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames]
    if error.__cause__ is not None:
        described["cause"] = f"{_type_name(error.__cause__)} at {_place(error.__cause__.__traceback__)}"
    return described


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for member in group.exceptions:
        found += _leaves(member) if isinstance(member, BaseExceptionGroup) else [member]
    return found


def _type_name(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _place(trace: TracebackType | None) -> str:
    frames = traceback.extract_tb(trace)
    return f"{_short(frames[-1].filename)}:{frames[-1].lineno}" if frames else "unknown"


def _short(filename: str) -> str:
    path = Path(filename)
    if path.is_relative_to(_ROOT):
        return path.relative_to(_ROOT).as_posix()
    return "/".join(path.parts[-3:])


def _finite(value: object) -> object:
    """JSON knows no NaN and no infinity."""
    if isinstance(value, float) and not (float("-inf") < value < float("inf")):
        return str(value)
    return value
