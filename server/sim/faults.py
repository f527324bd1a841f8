"""What happens to machines during a run: sleep, upgrades, crashes, stalls, heat; and when each was away for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from server.sim.errors import SimulationError
from server.sim.perfect import Absence

if TYPE_CHECKING:
    from collections.abc import Iterable

    from server.sim.provider import Provider

Happening = Literal["sleep", "wake", "upgrade", "crash", "stall", "go_on", "reject", "error", "ok", "speed"]


class MachineEvent(Struct, frozen=True, kw_only=True):
    """`what` happens to a machine at `at` seconds of the trace.

    `value` is the time away in seconds (`upgrade`, `crash`), or the new speed as a share (`speed`); `version` is what
    an upgrade installs.
    """

    at: Annotated[float, Meta(ge=0)]
    machine: str
    what: Happening
    value: float = 30.0
    version: str = ""
    patience: float = 60.0
    """How long an upgrade waits for what runs (seconds)."""


def apply(event: MachineEvent, provider: Provider) -> None:
    """Let it happen."""
    match event.what:
        case "sleep":
            provider.fall_asleep()
        case "wake":
            provider.wake_up()
        case "upgrade":
            provider.upgrade(event.version or provider.version, patience=event.patience, away=event.value)
        case "crash":
            provider.crash(event.value)
        case "stall":
            provider.engine.stall(True)
        case "go_on":
            provider.engine.stall(False)
        case "reject" | "error" | "ok":
            provider.mode = event.what
        case "speed":
            provider.engine.set_speed(event.value)


def checked_events(events: Iterable[MachineEvent], machines: Iterable[str]) -> list[MachineEvent]:
    """Order the events by time; raises `SimulationError` for a machine that the fleet does not have."""
    known = set(machines)
    found = sorted(events, key=lambda event: (event.at, event.machine))
    for event in found:
        if event.machine not in known:
            raise SimulationError(f"The fault plan names the machine {event.machine!r}, which the fleet does not have.")
    return found


def absences(events: Iterable[MachineEvent], seconds: float) -> list[Absence]:
    """When each machine was away or unsound, within a run of this length."""
    found: list[Absence] = []
    since: dict[str, float] = {}
    for event in events:
        name = event.machine
        if event.what in ("sleep", "stall", "reject", "error"):
            since.setdefault(name, event.at)
        elif event.what in ("wake", "go_on", "ok") and name in since:
            found.append(Absence(name, since.pop(name), event.at))
        elif event.what in ("upgrade", "crash") and name not in since:
            found.append(Absence(name, event.at, min(seconds, event.at + event.value)))
    found += [Absence(name, start, seconds) for name, start in since.items()]
    return sorted(found, key=lambda one: (one.start, one.machine))
