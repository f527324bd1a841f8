"""Events about faults for the coordinator's operators: fixed words and numbers, never text of a request or an error.

Invariant: a producer never waits; at most `MAX_QUEUED` events are in memory, what is beyond goes to a file of at most
`MAX_FILE_BYTES`, whose older half is dropped when it is full.
Source: provider rules, events; wire protocol, telemetry.
"""

import os
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec

from protocol.rfc3339 import format_rfc3339

MAX_QUEUED: Final = 1000
MAX_FILE_BYTES: Final = 5 * 1024 * 1024
MAX_WORD_CHARACTERS: Final = 64

Severity = Literal["debug", "info", "warn", "error", "fatal"]
Kind = Literal["backend_crash", "connectivity", "inference_error", "attestation_failure", "runtime_mismatch", "custom"]
Value = str | int | float | bool

FIELDS: Final = frozenset(
    {
        "component",
        "operation",
        "duration_ms",
        "attempt",
        "endpoint",
        "status_code",
        "error_class",
        "target",
        "model",
        "backend",
        "exit_code",
        "signal",
        "hardware_chip",
        "memory_gb",
        "os_version",
        "reason",
        "runtime_component",
        "reconnect_count",
        "ws_state",
        "queue_depth",
        "trust_level",
        "provider_id",
    }
)
"""Names that may be sent; the coordinator drops every other."""


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event as the wire has it."""

    id: str
    timestamp: str
    severity: Severity
    kind: Kind
    message: str
    session_id: str
    version: str
    source: str = msgspec.field(default_factory=lambda: "provider")
    fields: dict[str, Value] = msgspec.field(default_factory=dict)


class TelemetryQueue:
    """Takes events from the trio thread. `session_id` is new for each process."""

    def __init__(self, overflow: Path, *, version: str, wall_clock: Callable[[], float] = time.time) -> None:
        self._overflow = overflow
        self._version = version
        self._wall_clock = wall_clock
        self._session_id = str(uuid.uuid4())
        self._events: deque[Event] = deque()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._events)

    def note(self, severity: Severity, kind: Kind, message: str, fields: Mapping[str, Value] | None = None) -> None:
        """Queue an event. `message` is a fixed sentence of ours; unknown fields and long words are left out."""
        event = Event(
            id=str(uuid.uuid4()),
            timestamp=format_rfc3339(self._wall_clock()),
            severity=severity,
            kind=kind,
            message=message,
            session_id=self._session_id,
            version=self._version,
            fields=allowed_fields(fields or {}),
        )
        if len(self._events) < MAX_QUEUED:
            self._events.append(event)
        else:
            self._spill(event)

    def take(self, most: int) -> list[Event]:
        """Take the oldest events."""
        return [self._events.popleft() for _ in range(min(most, len(self._events)))]

    def put_back(self, events: list[Event]) -> None:
        """Take back what could not be sent; it goes out first next time."""
        self._events.extendleft(reversed(events))

    def _spill(self, event: Event) -> None:
        try:
            _append(self._overflow, msgspec.json.encode(event) + b"\n")
        except OSError:
            self.dropped += 1


def allowed_fields(fields: Mapping[str, Value]) -> dict[str, Value]:
    """Keep the fields that may leave: known names; numbers, switches, and short words."""
    return {
        name: value
        for name, value in fields.items()
        if name in FIELDS
        and (not isinstance(value, str) or (len(value) <= MAX_WORD_CHARACTERS and value.isprintable()))
    }


def worth_telling(reconnects: int) -> bool:
    """Whether a reconnect is worth an event: the third, the tenth, and every thirtieth."""
    return reconnects in (3, 10) or (reconnects > 0 and reconnects % 30 == 0)


def _append(path: Path, line: bytes) -> None:
    size = path.stat().st_size if path.exists() else 0
    if size + len(line) > MAX_FILE_BYTES:
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[len(lines) // 2 :]))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "ab") as file:
        file.write(line)
