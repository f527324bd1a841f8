"""Log lines of the daemon: time, level, component, fixed text, and named ids; exceptions by type only."""

import json
import logging
from datetime import UTC, datetime
from typing import Final

_LEVELS: Final = {logging.DEBUG: "debug", logging.INFO: "info", logging.WARNING: "warn", logging.ERROR: "error"}
_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_REFUSED: Final = frozenset({"prompt", "messages", "content", "text", "body", "plaintext"})
_HIDDEN: Final = "(hidden)"


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its newline."""
        return json.dumps(line_fields(record), ensure_ascii=False, separators=(",", ":"))


class TextFormatter(logging.Formatter):
    """One line for people."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its newline."""
        fields = line_fields(record)
        moment = datetime.fromtimestamp(record.created).strftime("%H:%M:%S.%f")[:-3]
        parts = [moment, str(fields["level"]).upper().ljust(5), str(fields["logger"]), str(fields["msg"])]
        parts += [f"{name}={value}" for name, value in fields.items() if name not in ("ts", "level", "logger", "msg")]
        return " ".join(parts).replace("\n", "\\n").replace("\r", "\\r")


def line_fields(record: logging.LogRecord) -> dict[str, object]:
    """Return what a line says; a field whose name stands for request content is hidden, whatever it holds."""
    fields: dict[str, object] = {
        "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": _LEVELS.get(min(max(record.levelno // 10 * 10, logging.DEBUG), logging.ERROR), "info"),
        "logger": record.name.removeprefix("provider."),
        "msg": record.getMessage(),
    }
    for name, value in vars(record).items():
        if name not in _OWN and name not in fields:
            fields[name] = _HIDDEN if name in _REFUSED else _plain(value)
    if record.exc_info and record.exc_info[0] is not None:
        fields["error"] = record.exc_info[0].__qualname__
    return fields


def _plain(value: object) -> object:
    """Objects and collections are named by type: what they hold is not known here."""
    return value if isinstance(value, str | int | float | bool | None) else f"<{type(value).__name__}>"
